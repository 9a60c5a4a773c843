//! docs/security.md claims nothing that no test shows: every claim names tests, and every named test is there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const MARK: &str = "`test: ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_claim_names_tests_that_exist() -> Result<()> {
    let document = std::fs::read_to_string(root().join("docs/security.md"))?;
    let claims = claims(&document)?;
    ensure!(claims.len() >= 20, "only {} claims were read", claims.len());
    let wrong: Vec<String> = claims.iter().flat_map(|claim| wrong(claim)).collect();
    ensure!(wrong.is_empty(), "docs/security.md:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_claim_without_a_test_and_a_test_that_does_not_exist_are_found() -> Result<()> {
    let document = "## Claims\n- one: `test: at-rest/src/key.rs::a_key_is_made_once_for_the_owner_only`\n- two\n  goes on\n\
        - three: `test: at-rest/src/key.rs::no_such_test` `test: no/such/file.rs::x`\n- four: `test: at-rest/src/key.rs::read_or_make`\n## Other\n- five\n";
    let claims = claims(document)?;
    let found: Vec<usize> = claims.iter().map(|claim| wrong(claim).len()).collect();
    ensure!(found == [0, 1, 2, 1], "{found:?}");
    Ok(())
}

/// The list items of the section "Claims", each as one text.
fn claims(document: &str) -> Result<Vec<String>> {
    let (_, section) = document.split_once("## Claims\n").context("docs/security.md has no section \"Claims\"")?;
    let mut claims: Vec<String> = Vec::new();
    for line in section.lines().take_while(|line| !line.starts_with("## ")) {
        match (line.strip_prefix("- "), claims.last_mut()) {
            (Some(begin), _) => claims.push(begin.to_owned()),
            (None, Some(claim)) if line.starts_with("  ") => claim.push_str(line),
            _ => {}
        }
    }
    Ok(claims)
}

fn wrong(claim: &str) -> Vec<String> {
    let tests: Vec<&str> = claim.split(MARK).skip(1).filter_map(|rest| rest.split('`').next()).collect();
    if tests.is_empty() {
        return vec![format!("this claim names no test: {claim}")];
    }
    tests.into_iter().filter_map(|test| missing(test).err()).map(|error| format!("{error:#}")).collect()
}

/// Whether a function of this name is marked as a test in this file.
fn missing(test: &str) -> Result<()> {
    let (file, name) = test.split_once("::").with_context(|| format!("{test} is not FILE::FUNCTION"))?;
    let source = std::fs::read_to_string(root().join(file)).with_context(|| format!("{test}: no such file"))?;
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let is_it = |line: &&str| {
        ["fn ", "async fn "].iter().any(|start| line.strip_prefix(start).is_some_and(|rest| rest.starts_with(&format!("{name}("))))
    };
    let at = lines.iter().position(is_it).with_context(|| format!("{test}: no such function"))?;
    let mut attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    ensure!(attributes.any(|line| line.contains("test")), "{test}: the function is no test");
    Ok(())
}
