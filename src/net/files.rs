//! Small files, whole: settings, lists of engines, secrets. Blocking: the main thread's only.

use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;

/// A reader sees the old content or the new, never a part: written beside it, then renamed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = name.to_os_string();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
        return renamed;
    }
    // The rename itself must survive a crash as well.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A file that should be small: a longer one is an error, not a full memory.
pub fn read_limited(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        let text = format!("{} is longer than {bytes_max} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::path::Path;

    use super::read_limited;
    use super::write_atomic;

    #[test]
    fn a_file_is_replaced_whole_and_read_within_its_limit() {
        let folder = std::env::temp_dir().join(format!("ringcast-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("list");
        write_atomic(&path, b"old and longer").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(read_limited(&path, 3).unwrap(), b"new");
        assert_eq!(read_limited(&path, 2).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(read_limited(&path, 2).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(write_atomic(&path, b"x").is_err(), "no folder");
        assert!(write_atomic(Path::new("/"), b"x").is_err());
    }
}
