//! docs/SETTINGS.md and the README's short table, written from the table of settings.

use super::channel;
use super::table::Effect;
use super::table::Group;
use super::table::Row;
use super::table::rows;

const HEAD: &str = "\
# Settings

Generated from `src/config/table/`; a test holds it to that.

A flag wins over the environment, the environment over the TOML file, the file over the default.
The file is named by `--config FILE` or `RINGCAST_CONFIG`; there is none by default. A TOML key is
the name in lower case without `RINGCAST_` (`proxy_grace_period`, `listen`), and lists are arrays.
An empty value is the same as none. Unknown names and values out of range stop the start with one
line that names the nearest valid name and what is accepted.

Times are `90`, `1.5s`, `500ms` or `2m`. Sizes are `1048576`, `64MiB` or `2G` (K, M, G, T and KiB
count in 1 024, KB in 1 000). Lists in a variable or a flag are separated by blanks or commas
(engines by blanks only, tokens by commas only); a flag of a list may also be repeated.

All settings are read at the start. Those marked \"reload\" are read again on SIGHUP and apply from then
on. `ringcast config` prints what is in effect and where it comes from.
";

const TAIL: &str = "\
## Files instead of values

Secrets are also read from a file: `RINGCAST_PLAY_TOKEN_FILE`, `--play-token-file` and
`play_token_file` hold a path, and likewise for the other settings marked \"secret\". One token a
line.

## Variables of acexy

`ACEXY_HOST`, `ACEXY_PORT` and `ACEXY_LISTEN_ADDR` are understood where `RINGCAST_ENGINES` and
`RINGCAST_LISTEN` are not set, with one line that says the new name.
";

/// The whole of docs/SETTINGS.md.
pub fn settings_markdown() -> String {
    let mut out = HEAD.to_owned();
    for group in Group::ALL {
        out.push_str(&format!("\n## {}\n", group.title()));
        for row in rows().filter(|row| row.group == group) {
            setting(&mut out, row);
        }
    }
    out.push_str("\n## Channels\n\n");
    out.push_str(&format!(
        "Only in the TOML file: `[[channel]]` tables with `{}`. `name` and `id` are needed, `id` \
         is a content id or an infohash.\n\n```toml\n[[channel]]\nname = \"Big Buck Bunny\"\n\
         id = \"0123456789abcdef0123456789abcdef01234567\"\ngroup = \"Films\"\n\
         logo = \"https://example.org/bunny.png\"\n```\n\n",
        channel::KEYS.join("`, `")
    ));
    out.push_str(TAIL);
    out
}

fn setting(out: &mut String, row: &Row) {
    let mut marks = Vec::new();
    if row.reload {
        marks.push("reload".to_owned());
    }
    if row.secret {
        marks.push("secret".to_owned());
    }
    match row.effect {
        Effect::Full => {}
        Effect::Part(what) => marks.push(format!("not yet in effect: {what}")),
        Effect::Pending => marks.push("not yet in effect".to_owned()),
    }
    let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
    out.push_str(&format!("\n### {}{marks}\n\n{}.\n\n", row.name, row.help));
    out.push_str(&format!("- flag `--{}`, TOML key `{}`\n", row.flag, row.toml()));
    out.push_str(&format!("- default {}\n", default_words(row)));
    out.push_str(&format!("- accepts {}\n", row.kind.accepts()));
}

fn default_words(row: &Row) -> String {
    match (row.default, row.default_means) {
        ("", "") => row.nothing().to_owned(),
        ("", means) => means.to_owned(),
        (default, "") => format!("`{default}`"),
        (default, means) => format!("`{default}` ({means})"),
    }
}

/// The ten that matter, for the README.
pub fn readme_settings_markdown() -> String {
    let mut out = "| setting | default | |\n|---|---|---|\n".to_owned();
    for row in rows().filter(|row| row.essential) {
        let help = row.help.replace('|', "\\|");
        out.push_str(&format!("| `{}` | {} | {help} |\n", row.name, default_words(row)));
    }
    out
}
