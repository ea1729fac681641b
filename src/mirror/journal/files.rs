//! Journals as files: their names, their locks, and how one is replaced whole.
//!
//! A lock belongs to an open file. A file gets its name only after it has been locked, so a name
//! whose lock is free is that of a dead process; and whoever has taken a lock looks again whether
//! the name still means the file that it has locked.

use rustix::fs::FlockOperation;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// 300 bytes for a session: some ten thousand of them and their history.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;
/// Left by as many dead processes; one that cannot be settled goes after an hour.
pub(super) const JOURNALS_MAX: usize = 256;
/// Somebody may take the lock of a file that has no name yet, for leftovers look the same.
const TRIES_MAX: usize = 3;

const NAME: &str = "sessions-";
const ENDING: &str = ".journal";
const UNFINISHED: &str = ".journal-new";

/// A journal that is locked by us.
pub(super) struct Locked {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// The name of this process' journal. A container's process always has the same number.
pub(super) fn path(dir: &Path, pid: u32, nonce: u32) -> PathBuf {
    dir.join(format!("{NAME}{pid}-{nonce:08x}{ENDING}"))
}

/// A new file with this text takes the name, as a whole and safe from a power cut.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<Locked> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let beside = path.with_extension(&UNFINISHED[1..]);
    let mut last = io::Error::from(io::ErrorKind::WouldBlock);
    for _ in 0..TRIES_MAX {
        match write_beside(path, &beside, text) {
            Ok(file) => {
                // The name must survive a power cut as well; where a directory cannot be synced,
                // it does so a little later.
                let _ = File::open(dir).and_then(|dir| dir.sync_all());
                return Ok(Locked { file, path: path.to_owned() });
            }
            Err(error) => last = error,
        }
        let is_a_race = matches!(last.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound);
        if !is_a_race {
            break;
        }
    }
    // The first error is the one to tell.
    let _ = fs::remove_file(&beside);
    Err(last)
}

fn write_beside(path: &Path, beside: &Path, text: &str) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(beside)?;
    lock(&file)?;
    file.set_len(0)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(beside, path)?;
    Ok(file)
}

fn lock(file: &File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

/// The names of journals, and of what was left of one that was never finished.
pub(super) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(NAME) && (name.ends_with(ENDING) || name.ends_with(UNFINISHED)) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Its text has been written to the end.
pub(super) fn is_finished(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(ENDING))
}

/// The journal of a dead process, and what stands in it. None when its owner lives or somebody
/// else looks after it.
pub(super) fn take(path: &Path) -> io::Result<Option<(Locked, Vec<u8>)>> {
    let file = OpenOptions::new().read(true).append(true).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // It can still be read where it cannot be written.
        Err(_) => File::open(path)?,
    };
    match lock(&file) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    }
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = Vec::new();
    (&file).take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some((Locked { file, path: path.to_owned() }, bytes)))
}

impl Locked {
    /// Nobody needs it any more. The lock is held until the name is gone.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}
