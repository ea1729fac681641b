//! A control group that limits memory: of the second version where it has the controller, else of the
//! first.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

const ROOT: &str = "/sys/fs/cgroup";

pub(crate) struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Why there is none, where none can be made.
    pub(crate) fn of(bytes: u64) -> Result<Self, String> {
        let name = format!("ringcast-test-{}-{bytes}", std::process::id());
        let (above, limit) = match second_version()? {
            Some(above) => (above, "memory.max"),
            None => (Path::new(ROOT).join("memory"), "memory.limit_in_bytes"),
        };
        let group = Self(above.join(name));
        let told =
            |what: &str, error: std::io::Error| format!("{what} {}: {error}", group.0.display());
        fs::create_dir(&group.0).map_err(|error| told("mkdir", error))?;
        fs::write(group.0.join(limit), bytes.to_string()).map_err(|error| told(limit, error))?;
        // Where there is swap, it is not memory.
        for swap in ["memory.swap.max", "memory.memsw.limit_in_bytes"] {
            let most = if swap.ends_with("max") { "0".to_owned() } else { bytes.to_string() };
            let _ = fs::write(group.0.join(swap), most);
        }
        Ok(group)
    }

    /// A line of shell that joins it.
    pub(crate) fn join(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.0.display())
    }
}

/// The folder below which groups of the second version limit memory.
fn second_version() -> Result<Option<PathBuf>, String> {
    let root = Path::new(ROOT);
    let Ok(controllers) = fs::read_to_string(root.join("cgroup.controllers")) else {
        return Ok(None);
    };
    if !controllers.split_ascii_whitespace().any(|name| name == "memory") {
        return Err("cgroup.controllers has no memory".to_owned());
    }
    // Children have what their parent passes on; where processes sit in the root of a container it
    // cannot.
    let control = root.join("cgroup.subtree_control");
    let passed = fs::read_to_string(&control).unwrap_or_default();
    if !passed.split_ascii_whitespace().any(|name| name == "memory") {
        fs::write(&control, "+memory")
            .map_err(|error| format!("{}: {error}", control.display()))?;
    }
    Ok(Some(root.to_owned()))
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
