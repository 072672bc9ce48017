//! The scripts: one call each, whatever it decides on.

use super::{error::Failure, servers::Servers};
use redis::{Cmd, Value, cmd};
use std::sync::OnceLock;
use tokio::time::Instant;

/// A script's parts, in the order they are put together.
macro_rules! script {
    ($name:ident: $($part:literal),*) => {
        pub(super) static $name: Script = Script {
            text: concat!($(include_str!(concat!("scripts/", $part, ".lua")), "\n"),*),
            hash: OnceLock::new(),
        };
    };
}

script!(DECIDE: "state", "small", "log", "kinds", "decide");
script!(ADJUST: "state", "small", "log", "kinds", "adjust");
script!(WHOLE: "state", "small", "log", "kinds", "whole");
script!(SWAP: "state", "swap");

/// A script, and the hash that servers know it by.
pub(super) struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// Runs it on `names`, all in `slot`. The text is sent only to a server that does not know the script, which then
    /// has run nothing.
    pub(super) async fn run(
        &self,
        servers: &Servers,
        slot: u16,
        names: &[&[u8]],
        arguments: &[&[u8]],
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let hash = self.hash.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        let complete = |mut command: Cmd| {
            command.arg(names.len());
            names.iter().chain(arguments).for_each(|word| {
                command.arg(*word);
            });
            command
        };
        let by = |word: &str, what: &str| {
            let mut command = cmd(word);
            command.arg(what);
            complete(command)
        };
        match servers.call(slot, &by("EVALSHA", hash), deadline).await {
            Err(failure) if failure.is_refused(&["NOSCRIPT"]) => {
                servers.call(slot, &by("EVAL", self.text), deadline).await
            }
            answer => answer,
        }
    }
}
