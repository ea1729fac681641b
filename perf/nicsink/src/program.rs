//! The BPF programs: built from the source in this binary, loaded, attached to the veth.

use crate::host::run;
use crate::host::run_with;
use crate::rig::CLIENT;
use crate::rig::Rig;
use crate::rig::SERVER;
use std::fs;
use std::path::PathBuf;

const SOURCE: &[u8] = include_bytes!("../sink.bpf.c");

/// The bytes of a response that may reach the client: its head and a stream's tables.
const HEAD_BYTES: u32 = 2048;

/// One tick's limit. A thousand viewers' segments come in one burst of some ten milliseconds;
/// ticks every 100 µs acknowledge a million segments a second with this.
const ACKS_PER_TICK: u32 = 128;

/// Where ticks are sent to; nothing listens there, and none arrives.
pub(crate) const TICK_PORT: u16 = 9;

/// `target/nicsink/NAME.o`: next to the folder of this binary.
fn object(rig: &Rig) -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| format!("where is nicsink: {error}"))?;
    let target = here.ancestors().nth(2).ok_or("nicsink stands in no folder")?;
    let folder = target.join("nicsink");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder.join(format!("{}.o", rig.name())))
}

fn build(rig: &Rig, port: u16) -> Result<String, String> {
    let object = object(rig)?;
    let object = object.to_str().ok_or("the target folder's name is not text")?.to_owned();
    let given = [
        ("SERVER", SERVER.to_bits()),
        ("CLIENT", CLIENT.to_bits()),
        ("PORT", port.into()),
        ("TICK_PORT", TICK_PORT.into()),
        ("HEAD_BYTES", HEAD_BYTES),
        ("ACKS_PER_TICK", ACKS_PER_TICK),
    ]
    .map(|(name, value)| format!("-D{name}={value}"));
    // Debian's <asm/types.h> stands here, where clang looks only for programs of this machine.
    let machine = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let mut words = vec!["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror"];
    words.extend(given.iter().map(String::as_str));
    words.extend(["-idirafter", &machine, "-x", "c", "-c", "-", "-o", &object]);
    run_with(words, SOURCE)?;
    Ok(object)
}

/// The programs and maps stay as files under the rig's own BPF file system.
pub(crate) fn load(rig: &Rig, port: u16) -> Result<(), String> {
    let object = build(rig, port)?;
    let pins = rig.pins();
    run(&format!("mount -t bpf bpf {pins}"))?;
    fs::create_dir(format!("{pins}/maps")).map_err(|error| format!("{pins}/maps: {error}"))?;
    let maps = format!("{pins}/maps");
    let programs = format!("{pins}/programs");
    let loaded =
        run_with(["bpftool", "prog", "loadall", &object, &programs, "pinmaps", &maps], &[]);
    // One that the kernel does not take is worth a look.
    loaded.and_then(|_| fs::remove_file(&object).map_err(|error| format!("{object}: {error}")))?;
    let (server, client) = (rig.server(), rig.client());
    let attach = |namespace: &str, device: &str, place: u8, program: &str| {
        run(&format!(
            "tc -n {namespace} filter add dev {device} egress pref {place} protocol all \
             bpf direct-action pinned {programs}/{program}"
        ))
    };
    run(&format!("tc -n {server} qdisc add dev vs0 clsact"))?;
    run(&format!("tc -n {client} qdisc add dev vc0 clsact"))?;
    attach(&server, "vs0", 1, "sink")?;
    attach(&server, "vs0", 2, "tick")?;
    attach(&client, "vc0", 1, "client")?;
    Ok(())
}
