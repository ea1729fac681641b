//! One look at Redis for `ringcast doctor`: what the mirror would need, tried out.

use crate::mirror::keys::Keys;
use crate::mirror::keys::SCHEMA;
use crate::mirror::link;
use crate::mirror::link::Link;
use crate::mirror::place::Place;
use redis::Cmd;

/// What is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing answers, or something that is no Redis.
    Silent(String),
    /// Its user or its password.
    Login(String),
    /// The user may not do what the mirror does.
    Rights(String),
    /// It answers, but takes nothing.
    Refused(String),
}

/// Where, and the version or what is wrong. It writes what a running server writes, too: the name
/// of the schema, where there is none.
pub fn look(url: &str, prefix: &str) -> (String, Result<String, Trouble>) {
    let place = match Place::parse(url) {
        Ok(place) => place,
        Err(why) => return (String::new(), Err(Trouble::Silent(why))),
    };
    let name = place.name();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(try_out(&place, prefix)),
        Err(error) => Err(Trouble::Silent(error.to_string())),
    };
    (name, result)
}

async fn try_out(place: &Place, prefix: &str) -> Result<String, Trouble> {
    let link = link::connect(place, None).await.map_err(sort)?;
    let Link { mut asks, tags, version, .. } = link;
    let keys = Keys::new(prefix, tags);
    let mut name = redis::cmd("SET");
    name.arg(keys.schema()).arg(SCHEMA).arg("NX");
    let mut script = redis::cmd("EVAL");
    script.arg("return redis.call('GET', KEYS[1])").arg(1).arg(keys.schema());
    let mut message = redis::cmd("PUBLISH");
    message.arg(keys.doctor_channel()).arg("{}");
    for command in [name, script, message] {
        try_one(&mut asks, &command).await?;
    }
    Ok(version)
}

async fn try_one(asks: &mut link::Pipe, command: &Cmd) -> Result<(), Trouble> {
    match tokio::time::timeout(link::CONNECT_MAX, asks.ask(command)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(sort(link::said(error))),
        Err(_) => Err(Trouble::Silent("it does not answer".to_owned())),
    }
}

fn sort(said: String) -> Trouble {
    let code = said.split(' ').next().unwrap_or_default();
    match code {
        "WRONGPASS" | "NOAUTH" => Trouble::Login(said),
        "NOPERM" => Trouble::Rights(said),
        "OOM" | "READONLY" | "MISCONF" | "LOADING" | "CLUSTERDOWN" => Trouble::Refused(said),
        _ => Trouble::Silent(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_is_sorted_by_what_helps() {
        let kind = |text: &str| sort(text.to_owned());
        assert!(matches!(kind("WRONGPASS invalid"), Trouble::Login(_)));
        assert!(matches!(kind("NOAUTH Authentication required."), Trouble::Login(_)));
        assert!(matches!(kind("NOPERM this user"), Trouble::Rights(_)));
        assert!(matches!(kind("OOM command not allowed"), Trouble::Refused(_)));
        assert!(matches!(kind("Connection refused (os error 111)"), Trouble::Silent(_)));
    }
}
