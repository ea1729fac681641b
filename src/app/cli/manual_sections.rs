//! Sections of the manual page that the tree of commands does not write by itself.

use clap_mangen::roff::Roff;
use clap_mangen::roff::bold;
use clap_mangen::roff::italic;
use clap_mangen::roff::roman;

use super::tree::command;

pub(super) fn before_options() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([
        bold("ringcast"),
        roman(" ["),
        italic("COMMAND"),
        roman("] ["),
        italic("OPTIONS"),
        roman("]"),
    ]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "Opens one AceStream session per channel on the engines it is given, keeps the stream's \
         last seconds in memory and sends them to every player that asks for the channel.",
    )]);
    roff.control("SH", ["COMMANDS"]);
    for command in command().get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        item(&mut roff, command.get_name(), &format!("{about}."));
    }
    roff
}

pub(super) fn after_options() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "Each option names its variable. An empty variable is the same as none. ACEXY_HOST, \
         ACEXY_PORT and ACEXY_LISTEN_ADDR are understood where ours are not set.",
    )]);
    roff.control("SH", ["SIGNALS"]);
    item(
        &mut roff,
        "SIGTERM, SIGINT",
        "Stop accepting, stop every engine session, exit 0 within 8 seconds.",
    );
    item(&mut roff, "SIGHUP", "Changes nothing yet: settings are read at the start only.");
    roff.control("SH", ["EXIT STATUS"]);
    item(&mut roff, "0", "All went well; of doctor and healthcheck: ready.");
    item(&mut roff, "1", "A failure at run time: a port in use, not ready.");
    item(&mut roff, "2", "A wrong command line or setting, said in one line.");
    roff
}

fn item(roff: &mut Roff, name: &str, what: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(what)]);
}
