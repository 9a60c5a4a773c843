//! `clusternet-hub rekey`: another key for what is on the disk.

use std::path::PathBuf;

use at_rest::KeyFile;
use clap::Args;

use crate::config::Config;
use crate::store;

/// What `rekey` is asked.
#[derive(Debug, Clone, Args)]
pub struct RekeyArgs {
    /// File of the new key, made if it is missing; start the hub with it as --at-rest-key-file then [default: the key is replaced in its file].
    #[arg(long)]
    pub to: Option<PathBuf>,
}

/// Seals the store of a stopped hub under a new key.
///
/// # Errors
/// The store cannot be opened with its key, or the new one cannot be kept.
pub fn rekey(config: &Config, args: &RekeyArgs) -> anyhow::Result<String> {
    let file = KeyFile::new(config.at_rest_key_file.as_deref(), &config.data_dir);
    let to = args.to.as_deref().map(|to| KeyFile::new(Some(to), &config.data_dir));
    let done = store::rekey(&config.data_dir, &file, to.as_ref())?;
    Ok(format!("sealed under the key {} in {}; the key {} opens it no more\n", done.new, done.path.display(), done.old))
}
