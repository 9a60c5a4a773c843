//! Build script of hub and agent: what `--version` says beside the version (commit, target, profile), and when the program was built:
//! no clock of a machine it runs on can rightly be before that. `cross/build` names the commit and its time; other builds have none.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-env-changed=CLUSTERNET_EDGE_COMMIT");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=BUILD_SECONDS={}", var("SOURCE_DATE_EPOCH").parse().unwrap_or(now));
    let commit = var("CLUSTERNET_EDGE_COMMIT");
    let commit = if commit.is_empty() { "no commit" } else { &commit };
    // OUT_DIR is PROFILE/build/PACKAGE-HASH/out; the variable PROFILE knows `debug` and `release` only.
    let folder = PathBuf::from(var("OUT_DIR"));
    let profile = folder.ancestors().nth(3).and_then(|profile| profile.file_name()).unwrap_or_default().to_string_lossy();
    println!("cargo:rustc-env=BUILD_STAMP={} ({commit}, {}, {profile})", var("CARGO_PKG_VERSION"), var("TARGET"));
}
