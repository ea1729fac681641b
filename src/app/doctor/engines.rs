//! Whether the engines answer: every SPEC is followed once, every engine asked for its status.

use std::thread;

use crate::app::doctor::Finding;
use crate::app::probe;
use crate::app::probe::HttpUrl;
use crate::engine::orchestrator;
use crate::engine::reply::engine_status;
use crate::engine::request;
use crate::engine::spec;
use crate::engine::spec::Spec;
use crate::net::dns;
use crate::net::files::read_limited;

/// Engines asked at the same time; more are only counted.
const ENGINES_MAX: usize = 64;

const FIX: &str = "start the engine, and set RINGCAST_ENGINES to where it listens (in a container \
                   127.0.0.1 is the container itself)";

/// One finding per engine, and one when none answers.
pub(super) fn check(specs: &[Spec]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut engines: Vec<HttpUrl> = Vec::new();
    for spec in specs {
        match follow(spec) {
            Ok(more) => engines.extend(more),
            Err(why) => found.push(Finding::warn("engine", format!("{spec}: {why}"), "")),
        }
    }
    if engines.len() > ENGINES_MAX {
        let more = engines.len() - ENGINES_MAX;
        found.push(Finding::ok("engine", format!("{more} more are not asked here")));
        engines.truncate(ENGINES_MAX);
    }
    let answers = thread::scope(|scope| {
        let asked: Vec<_> =
            engines.iter().map(|engine| scope.spawn(move || (engine, status(engine)))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    let mut answering = 0;
    for (engine, answer) in answers {
        let name = spec::host_header(&engine.host, engine.port);
        match answer {
            Ok(version) => {
                answering += 1;
                found.push(Finding::ok("engine", format!("{name}: {version}")));
            }
            Err(why) => found.push(Finding::warn("engine", format!("{name}: {why}"), "")),
        }
    }
    if answering == 0 {
        let none = if specs.is_empty() { "none is configured" } else { "none answers" };
        found.push(Finding::fail("engines", none, FIX));
    }
    found
}

/// The engines that a SPEC stands for. A file's SPECs name no other files.
fn follow(spec: &Spec) -> Result<Vec<HttpUrl>, String> {
    match spec {
        Spec::Host(host) => Ok(vec![at(&host.host, host.port)]),
        Spec::Dns { name, port } => {
            let addresses = dns::resolve(name, *port).map_err(|error| probe::plain(&error))?;
            let engine = |address: &std::net::SocketAddr| at(&address.ip().to_string(), *port);
            Ok(addresses.iter().map(engine).collect())
        }
        Spec::Orchestrator(url) => {
            let path = url.path.clone();
            let reply = probe::get(&HttpUrl { host: url.host.clone(), port: url.port, path })?;
            if reply.status != 200 {
                return Err(format!("answered {}", reply.status));
            }
            let list = orchestrator::parse(&reply.body)?;
            Ok(list.engines.iter().map(|row| at(&row.host.host, row.host.port)).collect())
        }
        Spec::File { path } => {
            let bytes = read_limited(path.as_ref(), orchestrator::LIST_BYTES_MAX)
                .map_err(|error| probe::plain(&error))?;
            let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text")?;
            let specs = spec::parse_list(&text).map_err(|error| error.to_string())?;
            let mut engines = Vec::new();
            for spec in specs {
                engines.extend(follow(&spec)?);
            }
            Ok(engines)
        }
    }
}

fn at(host: &str, port: u16) -> HttpUrl {
    HttpUrl { host: host.to_owned(), port, path: request::status() }
}

/// The engine's version, or what it said instead.
fn status(engine: &HttpUrl) -> Result<String, String> {
    let reply = probe::get(engine)?;
    let status = engine_status(reply.status, &reply.body).map_err(|failure| failure.to_string())?;
    Ok(status.version.unwrap_or_else(|| "answers".to_owned()))
}
