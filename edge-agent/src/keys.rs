//! The agent's long-lived key for sealed sessions: made at the first start, kept for the owner only.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use bus_schema::secret::LinkSecret;
use ring::rand::SecureRandom;

/// Folder of what proves who this agent is, in the data folder.
pub const IDENTITY: &str = "identity";
const LINK_KEY: &str = "link.key";

/// Reads the key, or makes it.
///
/// # Errors
/// The file cannot be read or written, or is no key.
pub fn link_secret(data_dir: &Path) -> io::Result<LinkSecret> {
    let folder = data_dir.join(IDENTITY);
    match std::fs::read(folder.join(LINK_KEY)) {
        Ok(found) => LinkSecret::read(&found).ok_or_else(|| {
            io::Error::other(format!("{LINK_KEY} has {} bytes and not 32: remove {} and join again", found.len(), folder.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&folder),
        Err(error) => Err(error),
    }
}

fn make(folder: &Path) -> io::Result<LinkSecret> {
    let mut random = [0; LinkSecret::LEN];
    ring::rand::SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no randomness"))?;
    let secret = LinkSecret::new(random);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = folder.join("link.key.part");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(secret.expose())?;
    file.sync_all()?;
    std::fs::rename(part, folder.join(LINK_KEY))?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let made = link_secret(folder.path()).unwrap();
        assert_eq!(link_secret(folder.path()).unwrap(), made);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let identity = folder.path().join(IDENTITY);
        assert_eq!((mode(&identity), mode(&identity.join(LINK_KEY))), (0o700, 0o600));
        std::fs::write(identity.join(LINK_KEY), "short").unwrap();
        assert!(link_secret(folder.path()).unwrap_err().to_string().contains("join again"));
    }
}
