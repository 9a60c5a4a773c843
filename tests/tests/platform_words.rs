//! Byte order and word size: the wire's own tests and whole simulations give on a big-endian and on a 32-bit processor, emulated, what
//! they give on amd64.

use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use tests::{Platform, Program, Scratch};

/// Seeds whose traces are compared; each prints 200 steps with hundreds of sealed frames.
const SEEDS: std::ops::Range<u64> = 0..6;

fn run(platform: &Platform, file: &str, args: &[&str]) -> Result<Output> {
    let program = Program { file: platform.file("quick", file)?, emulator: platform.emulator.clone() };
    // Golden files lie there.
    let wire = format!("{}/../bus-schema", env!("CARGO_MANIFEST_DIR"));
    let mut command = program.command();
    if std::env::var_os("CLUSTERNET_EDGE_FULL").is_none() {
        command.env("CLUSTERNET_EDGE_HOSTILE_ROUNDS", "4000");
    }
    let output = command.args(args).current_dir(wire).output();
    output.with_context(|| format!("{file} for {}", platform.name))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_wires_own_tests_pass_on_every_processor() -> Result<()> {
    for platform in Platform::asked()? {
        let folder = platform.file("quick", "tests/sim")?;
        let mut programs: Vec<String> = Vec::new();
        for entry in std::fs::read_dir(folder.parent().context("a folder")?)? {
            programs.push(entry?.file_name().to_string_lossy().into_owned());
        }
        programs.retain(|name| name != "sim");
        ensure!(programs.len() >= 7, "{}: only {programs:?}", platform.name);
        for program in programs {
            let output = run(&platform, &format!("tests/{program}"), &[])?;
            let said = text(&output);
            ensure!(output.status.success(), "{} {program}: {said}", platform.name);
            let summary = said.lines().filter(|line| line.starts_with("test result")).collect::<String>();
            eprintln!("{} {program}: {summary}", platform.name);
        }
    }
    Ok(())
}

#[test]
fn a_simulation_is_the_same_to_the_last_frame_on_every_processor() -> Result<()> {
    let here = Platform::named("amd64")?;
    for seed in SEEDS {
        let args = ["--seed", &seed.to_string(), "--trace"];
        let expected = run(&here, "tests/sim", &args)?;
        ensure!(expected.status.success(), "{}", text(&expected));
        for platform in Platform::asked()? {
            let found = run(&platform, "tests/sim", &args)?;
            let (expected, found) = (text(&expected), text(&found));
            let differs = expected.lines().zip(found.lines()).enumerate().find(|(_, (one, other))| one != other);
            ensure!(
                expected == found,
                "seed {seed} on {}: {} and {} lines, first difference {differs:?}",
                platform.name,
                expected.lines().count(),
                found.lines().count()
            );
            eprintln!("{} seed {seed}: {} lines of trace, the same", platform.name, found.lines().count());
        }
    }
    Ok(())
}

#[test]
fn the_clock_goes_on_after_2038() -> Result<()> {
    for platform in Platform::asked()? {
        let Some(emulator) = platform.emulator.first() else { continue };
        let scratch = Scratch::create("late")?;
        let agent = platform.file(&Platform::profile(), "clusternet-agent")?;
        // The emulator that is not static, so that its own clock can be turned: what it emulates asks it.
        let emulator = emulator.trim_end_matches("-static");
        let output = Command::new("faketime")
            .args(["2040-02-03 04:05:06", emulator])
            .arg(agent)
            .args(["--kubeconfig", "/not/there", "--log-format", "json", "--data-dir"])
            .arg(scratch.path().join("data"))
            .env("TZ", "UTC")
            .output()?;
        // It makes its folder and its key, says so, and ends for want of a member.
        let said = text(&output);
        ensure!(said.contains("\"timestamp\":\"2040-02-03T04:") && said.contains("/not/there"), "{}: {said}", platform.name);
        eprintln!("{}: {}", platform.name, said.lines().next().unwrap_or_default());
    }
    Ok(())
}
