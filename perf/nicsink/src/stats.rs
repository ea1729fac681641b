//! What the programs counted since `up`, and what the server's TCP had to send again.

use crate::host::inside;
use crate::host::run;
use crate::rig::Rig;
use serde_json::Value;
use serde_json::json;
use std::fs;

/// `struct counters` in `sink.bpf.c`, field by field.
const COUNTERS: [&str; 15] = [
    "connections",
    "segments",
    "bytes",
    "repeated_bytes",
    "acks",
    "acked_bytes",
    "queued",
    "taken",
    "queue_refused",
    "ticks",
    "full_ticks",
    "not_emitted",
    "client_dropped",
    "left",
    "closed",
];

pub(crate) fn read(rig: &Rig) -> Result<Value, String> {
    let port = rig.port().ok_or_else(|| format!("the rig {} is not up: nicsink up", rig.name()))?;
    let dumped = run(&format!("bpftool -j map dump pinned {}/maps/counters", rig.pins()))?;
    let counters = sums(&dumped).ok_or("bpftool dumps the counters in a form that is unknown")?;
    let resent = inside(&rig.server(), || {
        let path = "/proc/thread-self/net/snmp";
        fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
    })?;
    let resent = field(&resent, "Tcp:", "RetransSegs").ok_or("net/snmp has no RetransSegs")?;
    let waiting = counters[6].saturating_sub(counters[7]);
    let mut all = json!({ "name": rig.name(), "port": port });
    for (name, count) in COUNTERS.iter().zip(counters) {
        all[name] = count.into();
    }
    all["queue"] = waiting.into();
    all["retransmitted_segments"] = resent.into();
    Ok(all)
}

/// `[{"key":[…],"values":[{"cpu":0,"value":["0x1f","0x00",…]},…]}]`, summed over the cores.
fn sums(dumped: &[u8]) -> Option<[u64; COUNTERS.len()]> {
    let dumped: Value = serde_json::from_slice(dumped).ok()?;
    let mut sums = [0_u64; COUNTERS.len()];
    for core in dumped.get(0)?.get("values")?.as_array()? {
        let bytes = core.get("value")?.as_array()?;
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != sums.len() || !rest.is_empty() {
            return None;
        }
        for (sum, word) in sums.iter_mut().zip(words) {
            let mut count = [0; 8];
            for (byte, text) in count.iter_mut().zip(word) {
                let digits = text.as_str()?.strip_prefix("0x")?;
                *byte = u8::from_str_radix(digits, 16).ok()?;
            }
            *sum += u64::from_ne_bytes(count);
        }
    }
    Some(sums)
}

/// Two lines of the same start: the names, then the values.
fn field(snmp: &str, start: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with(start));
    let place = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_cores_are_added() {
        let core = |first: &'static str| {
            let mut bytes = vec!["0x00"; COUNTERS.len() * 8];
            bytes[..2].copy_from_slice(&[first, "0x01"]);
            bytes
        };
        let cores = [core("0x02"), core("0x03")];
        let values: Vec<_> = cores.iter().map(|value| json!({"cpu": 0, "value": value})).collect();
        let dumped = json!([{"key": ["0x00"], "values": values}]).to_string();
        let mut expected = [0; COUNTERS.len()];
        expected[0] = 0x102 + 0x103;
        assert_eq!(sums(dumped.as_bytes()), Some(expected));
        assert_eq!(sums(b"[]"), None);
        assert_eq!(sums(br#"[{"values":[{"value":["0x00"]}]}]"#), None);
    }

    #[test]
    fn counters_are_named_in_their_order() {
        let source = include_str!("../sink.bpf.c");
        let (_, from) = source.split_once("struct counters {").unwrap();
        let (body, _) = from.split_once("};").unwrap();
        let named = body.split("__u64 ").skip(1).map(|rest| rest.split(';').next().unwrap());
        assert_eq!(named.collect::<Vec<_>>(), COUNTERS);
    }

    #[test]
    fn a_field_stands_below_its_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: InSegs RetransSegs\nTcp: 7 9\n";
        assert_eq!(field(text, "Tcp:", "RetransSegs"), Some(9));
        assert_eq!(field(text, "Udp:", "RetransSegs"), None);
    }
}
