//! Every scenario of the tree is sound, and what is wrong in one is named.

use super::*;
use crate::cargo::root;

const GOOD: &str = r#"title = "t"
where = "loopback"
streams = 1
viewers = 2
bitrate_bps = 8_000_000
ramp_ms = 1
settle_ms = 1
seconds = 1
rounds = 2
check = 1
[[contender]]
name = "ringcast"
program = "ringcast"
env = { RINGCAST_SEND = "copy" }
[[contender]]
name = "same"
program = "floor"
kind = "sendfile"
send = "same"
[[target]]
figure = "cpu_s_per_gb"
to = "same"
max = 1.1
"#;

fn error_of(change: impl FnOnce(String) -> String) -> String {
    Scenario::parse("t", &change(GOOD.to_owned())).unwrap_err()
}

#[test]
fn every_scenario_of_the_tree_parses() {
    let scenarios = load(&root().join("perf/scenarios")).unwrap();
    let names: BTreeSet<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let expected = [
        "one-1",
        "one-50",
        "one-200",
        "one-1000",
        "one-4000",
        "rig-1000",
        "rig-4000",
        "s20x50",
        "s200x5",
        "fat-200",
        "zap",
        "stuck10",
        "storm",
        "ingest300",
        "capacity",
        "paths",
    ];
    for name in expected {
        assert!(names.contains(name), "perf/scenarios/{name}.toml is gone");
    }
    assert!(scenarios.is_sorted_by_key(Scenario::order));
    let plain = scenarios.iter().filter(|scenario| scenario.is_plain()).count();
    assert!(plain >= 5, "the chart compares these");
}

#[test]
fn every_scenario_is_quick_too() {
    for mut scenario in load(&root().join("perf/scenarios")).unwrap() {
        scenario.quick();
        assert_eq!((scenario.rounds, scenario.seconds), (1, 1), "{}", scenario.name);
        assert!(scenario.sizes().iter().all(|viewers| *viewers <= 12), "{}", scenario.name);
        assert!(scenario.check + scenario.pausing <= scenario.viewers, "{}", scenario.name);
        assert!(scenario.pause_ms < 1_000, "{}", scenario.name);
        assert!(scenario.check().is_ok(), "{}", scenario.name);
    }
}

#[test]
fn what_is_not_said_is_filled_in() {
    let scenario = Scenario::parse("t", GOOD).unwrap();
    assert_eq!(scenario.name, "t");
    assert_eq!(scenario.contenders[1].same_as.as_deref(), Some("ringcast"));
    assert_eq!(scenario.targets[0].of, "ringcast");
    assert_eq!(scenario.checks.delivery_p99_ms_max, 130.0);
    assert_eq!(scenario.sizes(), [2]);
}

#[test]
fn a_scenario_comes_back_from_the_results() {
    let scenario = Scenario::parse("t", GOOD).unwrap();
    let kept = serde_json::to_string(&scenario).unwrap();
    assert_eq!(serde_json::from_str::<Scenario>(&kept).unwrap(), scenario);
}

#[test]
fn a_field_that_is_unknown_is_named() {
    let error = error_of(|text| text.replace("ramp_ms", "ramp_s"));
    assert!(error.starts_with("perf/scenarios/t.toml: "), "{error}");
    assert!(error.contains("unknown field `ramp_s`"), "{error}");
    let error = error_of(|text| text.replace("\"same\"\n[[target", "true\n[[target"));
    assert!(error.contains("send is \"same\" or a number of bytes"), "{error}");
    let error = error_of(|text| text.replace("sendfile", "splice"));
    assert!(error.contains("unknown variant `splice`"), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cases: &[(&str, &str, &str)] = &[
        ("viewers = 2", "viewers = 0", "viewers must be at least 1"),
        ("name = \"same\"", "name = \"ringcast\"", "two contenders named ringcast"),
        ("name = \"same\"", "name = \"The same\"", "a name is of a-z"),
        ("kind = \"sendfile\"\n", "", "a floor needs kind"),
        ("send = \"same\"", "", "a floor needs send"),
        ("send = \"same\"", "send = 0", "send = 0"),
        ("send = \"same\"", "send = \"same\"\nsame_as = \"x\"", "is no ringcast contender"),
        ("RINGCAST_SEND", "PATH", "PATH is no setting"),
        ("figure = \"cpu_s_per_gb\"", "figure = \"speed\"", "no figure \"speed\"; there are"),
        ("to = \"same\"", "to = \"other\"", "there is no contender \"other\""),
        ("max = 1.1", "", "exactly one of max and min"),
        ("check = 1", "check = 1\npausing = 1", "pausing and pause_ms go together"),
        ("check = 1", "check = 1\nsteps = [3, 4]", "steps must rise and begin with viewers"),
        ("check = 1", "check = 1\nname = \"x\"", "the name is the file's name"),
    ];
    for (from, to, expected) in cases {
        let error = error_of(|text| text.replacen(from, to, 1));
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
    let unchecked =
        error_of(|text| text.replace("loopback", "rig").replace("check = 1", "check = 0"));
    assert!(unchecked.contains("the only ones that measure"), "{unchecked}");
}
