//! Every accepted form, and what is said about the others.

use proptest::prelude::*;

use super::*;

fn host(host: &str, port: u16) -> HostSpec {
    HostSpec { host: host.to_owned(), port, name: None, forwarded: false, max: None }
}

#[test]
fn every_form_of_a_spec() {
    let full = HostSpec {
        name: Some("gluetun-1".to_owned()),
        forwarded: true,
        max: NonZeroU32::new(4),
        ..host("engine", 6879)
    };
    let orchestrator = |host: &str, port, path: &str| {
        Spec::Orchestrator(OrchestratorUrl { host: host.to_owned(), port, path: path.to_owned() })
    };
    let table = [
        ("127.0.0.1", Spec::Host(host("127.0.0.1", 6878))),
        (" Engine.LAN:80 ", Spec::Host(host("engine.lan", 80))),
        ("[::1]", Spec::Host(host("::1", 6878))),
        ("[FE80:0::1]:7000", Spec::Host(host("fe80::1", 7000))),
        ("engine:6879,name=gluetun-1,forwarded,max=4", Spec::Host(full.clone())),
        ("engine:6879, max=4, forwarded, name=gluetun-1", Spec::Host(full)),
        ("dns:tasks.engine:6878", Spec::Dns { name: "tasks.engine".to_owned(), port: 6878 }),
        ("dns:tasks.engine", Spec::Dns { name: "tasks.engine".to_owned(), port: 6878 }),
        ("orchestrator:http://o:8000", orchestrator("o", 8000, "/api/v1/engines")),
        ("orchestrator:http://o/", orchestrator("o", 80, "/api/v1/engines")),
        ("orchestrator:http://[::1]:8000/x?y=1", orchestrator("::1", 8000, "/x?y=1")),
        ("file:/etc/engines", Spec::File { path: "/etc/engines".to_owned() }),
        ("file:///etc/engines", Spec::File { path: "/etc/engines".to_owned() }),
    ];
    for (text, spec) in table {
        assert_eq!(text.parse::<Spec>(), Ok(spec.clone()), "{text}");
        assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec), "{text} does not round trip");
    }
}

#[test]
fn what_is_refused_names_the_accepted_forms() {
    let table = [
        ("", "host is missing"),
        (":6878", "host is missing"),
        ("engine:", "no port"),
        ("engine:0", "no port"),
        ("engine:+80", "no port"),
        ("engine:65536", "no port"),
        ("::1", "brackets"),
        ("[::1", "closing ]"),
        ("[::g]", "no IPv6"),
        ("[::1]x", "after the address"),
        ("http://engine:6878", "without http://"),
        ("en gine", "no host"),
        ("engine\r\nX: y", "no host"),
        ("engine,forward", "unknown option"),
        ("engine,max=0", "number from 1"),
        ("engine,name=", "name= takes"),
        ("engine,name=a b", "name= takes"),
        ("dns:10.0.0.1:6878", "not an address"),
        ("orchestrator:https://o", "http:// URL"),
        ("orchestrator:http://o/a b", "characters"),
        ("orchestrator:http://user:pw@o/", "no port"),
        ("file:", "takes a path"),
    ];
    for (text, word) in table {
        let error = text.parse::<Spec>().unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
        assert!(error.contains("HOST[:PORT]"), "{text}: {error}");
    }
}

#[test]
fn a_host_may_be_called_as_a_source_is() {
    for name in ["dns", "file", "orchestrator"] {
        let spec: Spec = name.parse().unwrap();
        assert_eq!(spec, Spec::Host(host(name, 6878)));
        assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec), "what is written is read");
    }
}

#[test]
fn a_file_has_one_spec_a_line() {
    let specs = parse_list("# ours\n\n a:1 # first\r\ndns:b:2\n").unwrap();
    assert_eq!(specs, [Spec::Host(host("a", 1)), Spec::Dns { name: "b".to_owned(), port: 2 }]);
    assert!(parse_list("a\nfile:/x").unwrap_err().to_string().contains("line 2"));
    assert!(parse_list("a\n\nb:x").unwrap_err().to_string().contains("line 3"));
    let long = "a\n".repeat(SPECS_MAX + 1);
    assert!(parse_list(&long).is_err());
}

#[test]
fn several_specs_in_one_text() {
    let many = |text: &str| {
        parse_many(text).map(|specs| specs.iter().map(Spec::to_string).collect::<Vec<_>>())
    };
    let two = vec!["10.0.0.1:6878".to_owned(), "10.0.0.2:1,max=2".to_owned()];
    assert_eq!(many("10.0.0.1,10.0.0.2:1,max=2"), Ok(two.clone()));
    assert_eq!(many(" 10.0.0.1; 10.0.0.2:1,max=2 "), Ok(two));
    assert_eq!(many(""), Ok(vec![]));
    assert_eq!(
        many("a,forwarded,[::1]:2,name=a.b"),
        Ok(vec!["a:6878,forwarded".to_owned(), "[::1]:2,name=a.b".to_owned()])
    );
    assert!(many("a,fowarded").unwrap_err().to_string().contains("unknown option"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,80}") {
        if let Ok(spec) = text.parse::<Spec>() {
            prop_assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec));
        }
        let _ = parse_list(&text);
        let _ = parse_many(&text);
    }

    #[test]
    fn text_of_the_right_alphabet_round_trips(text in "(dns:|file:|orchestrator:http://)?[a-z0-9.:,=\\[\\]/-]{0,24}(,max=[0-9]{1,3})?") {
        if let Ok(spec) = text.parse::<Spec>() {
            prop_assert_eq!(spec.to_string().parse::<Spec>(), Ok(spec));
        }
    }
}
