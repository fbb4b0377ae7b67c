//! Files of keys: private ones are readable by their owner alone, and a file is replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::TrustError;

/// No file of keys or certificates is larger; a larger one is a mistake and is not read.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The file of [`next_incarnation`], in the node's directory.
const INCARNATION_FILE: &str = "incarnation";

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Mode 600.
    Private,
    /// Mode 644, less what the process masks.
    Public,
}

/// Creates `dir`, and its parents, where they are missing.
pub(super) fn create_dir(dir: &Path) -> Result<(), TrustError> {
    fs::create_dir_all(dir).map_err(|source| TrustError::Write { path: dir.to_owned(), source })
}

/// Writes `path` whole: to a file beside it, to disk, then renamed over it and the directory synced,
/// so that a crash leaves either the old content or the new.
pub(super) fn write(path: &Path, content: &[u8], access: Access) -> Result<(), TrustError> {
    write_whole(path, content, access).map_err(|source| TrustError::Write { path: path.to_owned(), source })
}

fn write_whole(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What a crash left behind is removed first, so that the file is ours and has our mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mode = match access {
        Access::Private => 0o600,
        Access::Public => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_directory(path)
}

/// Moves a whole file over another.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), TrustError> {
    let renamed = fs::rename(from, to).and_then(|()| sync_directory(to));
    renamed.map_err(|source| TrustError::Write { path: to.to_owned(), source })
}

fn sync_directory(of: &Path) -> io::Result<()> {
    let dir = of.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// Reads `path`; a private file that others can read is refused.
pub(super) fn read(path: &Path, access: Access, advice: &'static str) -> Result<Vec<u8>, TrustError> {
    let unreadable = |source| TrustError::Read { path: path.to_owned(), advice, source };
    let file = File::open(path).map_err(unreadable)?;
    // The mode is asked of the open file, so it is the mode of what is read.
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if access == Access::Private && mode & 0o077 != 0 {
        return Err(TrustError::TooOpen { path: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(malformed(path, format!("larger than {FILE_BYTES_MAX} bytes"), advice));
    }
    Ok(content)
}

/// Reads `path` as text.
pub(super) fn read_text(path: &Path, access: Access, advice: &'static str) -> Result<String, TrustError> {
    let content = read(path, access, advice)?;
    String::from_utf8(content).map_err(|_| malformed(path, "it is not text", advice))
}

/// The error for a file that holds something else.
pub(super) fn malformed(path: &Path, what: impl Into<String>, advice: &'static str) -> TrustError {
    TrustError::Malformed { path: path.to_owned(), what: what.into(), advice }
}

/// The number of this node's life: one more than the last, and never below the wall clock in
/// milliseconds; on disk before it is returned. The caller runs one node per directory.
pub fn next_incarnation(dir: &Path, wall_ms: u64) -> Result<u64, TrustError> {
    let path = dir.join(INCARNATION_FILE);
    let next = match stored_incarnation(&path)? {
        Some(stored) => stored.saturating_add(1).max(wall_ms),
        None => wall_ms,
    };
    write(&path, format!("{next}\n").as_bytes(), Access::Public)?;
    Ok(next)
}

/// A damaged file is never taken for a missing one: after a jump of the clock into the past, a node
/// that forgot its incarnation would be ignored as its own former life.
fn stored_incarnation(path: &Path) -> Result<Option<u64>, TrustError> {
    let advice = "write a number larger than any this node has used; the milliseconds since 1970 \
                  (date +%s%3N) will do if the clock never ran ahead";
    let text = match read_text(path, Access::Public, advice) {
        Ok(text) => text,
        Err(TrustError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let digits = text.strip_suffix('\n').unwrap_or(&text);
    let stored: Option<u64> = digits.parse().ok();
    match stored.filter(|number| *number < u64::MAX && number.to_string() == digits) {
        Some(number) => Ok(Some(number)),
        None => Err(malformed(path, "it is not one decimal number", advice)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_only_grow() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(next_incarnation(dir.path(), 1_000).unwrap(), 1_000);
        assert_eq!(next_incarnation(dir.path(), 1_000).unwrap(), 1_001);
        assert_eq!(next_incarnation(dir.path(), 5).unwrap(), 1_002);
        assert_eq!(next_incarnation(dir.path(), 9_000).unwrap(), 9_000);
    }

    #[test]
    fn damaged_incarnation_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(INCARNATION_FILE);
        for damaged in ["", "\n", "12x\n", "-1\n", "+1\n", "18446744073709551615\n", "1\n2\n"] {
            fs::write(&path, damaged).unwrap();
            let error = next_incarnation(dir.path(), 7).unwrap_err().to_string();
            assert!(error.contains("incarnation") && error.contains("write a number"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn missing_directory_is_named() {
        let error = next_incarnation(Path::new("/nowhere/at/all"), 7).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all/incarnation"));
    }

    #[test]
    fn private_files_are_private_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for content in ["one", "two"] {
            write(&path, content.as_bytes(), Access::Private).unwrap();
            assert_eq!(read_text(&path, Access::Private, "").unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path, Access::Private, "").unwrap_err().to_string();
        assert!(error.ends_with(&format!("chmod 600 {}", path.display())), "{error}");
    }
}
