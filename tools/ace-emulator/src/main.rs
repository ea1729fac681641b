//! The emulator as a program.
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::process::ExitCode;
use std::thread;

use ace_emulator::Channel;
use ace_emulator::Config;
use ace_emulator::Emulator;
use ace_emulator::Knob;

const USAGE: &str = "ace-emulator: the HTTP API of an AceStream engine, for tests

  --listen ADDR:PORT   default 127.0.0.1:6878; may be repeated
  --control ADDR:PORT  another port for /emulator/ alone
  --channel SPEC       INFOHASH[,id=CONTENT_ID][,bitrate=BPS][,video=h264|hevc|mpeg2|none]
                       [,gop_ms=N][,tag=N][,cold_start_ms=N][,resolve_ms=N][,is_live=N]
                       [,encrypted][,hls_source][,picture][,offline][,name=TEXT]; may be repeated
  --any-infohash       serve every infohash as a signed channel
  --bitrate BPS        of those channels
  --burst BYTES        media sent at once when a reader comes
  --cold-start MS      prebuffering
  --epoch US           when the broadcasts began, µs since 1970 (equal: identical bytes)
  --real               the timing of a real engine (cold start 12 s, burst 10 MB, 1 MB pieces)
  --knob NAME=VALUE    any of the knobs below; may be repeated

knobs:
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{USAGE}");
        for knob in Knob::ALL {
            println!("  {:<20} {:<7} {}", knob.name(), format!("{:?}", knob.kind()), knob.help());
        }
        return ExitCode::SUCCESS;
    }
    let started = configure(&arguments)
        .map_err(|why| (2, why))
        .and_then(|config| Emulator::start(config).map_err(|error| (1, error.to_string())));
    let emulator = match started {
        Ok(emulator) => emulator,
        Err((code, why)) => {
            eprintln!("ace-emulator: {why}");
            return ExitCode::from(code);
        }
    };
    println!("listening on {}", emulator.base_url());
    loop {
        thread::park();
    }
}

fn configure(arguments: &[String]) -> Result<Config, String> {
    let real = arguments.iter().any(|argument| argument == "--real");
    let mut config = if real { Config::real_like() } else { Config::default() };
    let mut listen = Vec::new();
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--real" {
            continue;
        }
        if name == "--any-infohash" {
            config = config.knob(Knob::AnyInfohash, true);
            continue;
        }
        let value = rest.next().ok_or(format!("{name} needs a value (see --help)"))?;
        let wrong = |why: &dyn std::fmt::Display| format!("{name} {value}: {why}");
        match name.as_str() {
            "--listen" => listen.push(value.parse().map_err(|error| wrong(&error))?),
            "--control" => {
                config.control_listen = Some(value.parse().map_err(|error| wrong(&error))?);
            }
            "--channel" => {
                config = config.channel(Channel::parse(value).map_err(|error| wrong(&error))?);
            }
            "--epoch" => config.epoch_us = Some(value.parse().map_err(|error| wrong(&error))?),
            "--bitrate" => config = knob(config, Knob::AnyBitrateBps, value)?,
            "--burst" => config = knob(config, Knob::BurstBytes, value)?,
            "--cold-start" => config = knob(config, Knob::ColdStartMs, value)?,
            "--knob" => {
                let (name, value) = value.split_once('=').ok_or(wrong(&"NAME=VALUE"))?;
                let named = Knob::from_name(name).ok_or(format!("no knob '{name}'"))?;
                config = knob(config, named, value)?;
            }
            _ => return Err(format!("unknown option {name} (see --help)")),
        }
    }
    if listen.is_empty() {
        listen.push(([127, 0, 0, 1], 6878).into());
    }
    config.listen = listen;
    Ok(config)
}

fn knob(config: Config, knob: Knob, text: &str) -> Result<Config, String> {
    Ok(config.knob(knob, knob.parse(text)?))
}
