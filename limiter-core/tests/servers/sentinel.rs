//! A primary, a replica and three Sentinels that promote it.

use super::{RedisServer, process::eventually, resp::Reply};

/// The name under which the Sentinels know the group.
const NAME: &str = "limits";

/// A primary counts as down after three seconds, which a busy machine may need for an answer; two of the three Sentinels must say so.
pub struct Sentinels {
    data: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
}

impl Sentinels {
    /// One primary, one replica, three Sentinels that know all of them and each other.
    pub fn start() -> Sentinels {
        Sentinels::start_with(&[])
    }

    /// With lines for the configuration of the primary and the replica.
    pub fn start_with(settings: &[(&str, &str)]) -> Sentinels {
        let primary = RedisServer::start_with(settings);
        let port = primary.port().to_string();
        let of = format!("127.0.0.1 {port}");
        let mut replica_settings = settings.to_vec();
        replica_settings.push(("replicaof", &of));
        let replica = RedisServer::start_with(&replica_settings);
        primary.wait_for_replica();

        let monitor = format!("monitor {NAME} 127.0.0.1 {port} 2");
        let (down, failover) =
            (format!("down-after-milliseconds {NAME} 3000"), format!("failover-timeout {NAME} 5000"));
        let settings = [&monitor, &down, &failover].map(|line| ("sentinel", line.as_str()));
        let sentinels: Vec<_> = (0..3).map(|_| RedisServer::start_as(&["--sentinel"], &settings)).collect();
        for sentinel in &sentinels {
            // They look around every few seconds otherwise. A server that does not know the command only takes longer.
            for period in ["PUBLISH-PERIOD", "INFO-PERIOD", "ASK-PERIOD", "PING-PERIOD"] {
                sentinel.command(&["SENTINEL", "DEBUG", period, "200"]);
            }
        }
        let group = Sentinels { data: vec![primary, replica], sentinels };
        for sentinel in &group.sentinels {
            let knows = |state: &[(String, String)], field: &str, value: &str| {
                state.iter().any(|(name, known)| name == field && known == value)
            };
            eventually(
                || {
                    let state = pairs(&sentinel.command(&["SENTINEL", "MASTER", NAME]));
                    (knows(&state, "num-slaves", "1") && knows(&state, "num-other-sentinels", "2")).then_some(())
                },
                || format!("a Sentinel that knows the group; it printed:\n{}", sentinel.log()),
            );
        }
        group
    }

    /// The name of the group, which clients ask the Sentinels for.
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The addresses of the Sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::url).collect()
    }

    pub fn ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(RedisServer::port).collect()
    }

    /// The Sentinels, to kill or pause.
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The primary and the replica of the start, in this order.
    pub fn data(&self) -> &[RedisServer] {
        &self.data
    }

    /// The running server that says it is the primary.
    pub fn primary(&self) -> &RedisServer {
        self.by_role("master")
    }

    /// The running server that says it is a replica.
    pub fn replica(&self) -> &RedisServer {
        self.by_role("slave")
    }

    fn by_role(&self, role: &str) -> &RedisServer {
        let mut running = self.data.iter().filter(|server| server.pid().is_some());
        let server = running.find(|server| server.command(&["ROLE"]).list()[0].text() == role);
        server.unwrap_or_else(|| panic!("no server of the group is a {role}"))
    }

    /// Kills the primary; the answer is the port it had.
    pub fn kill_primary(&self) -> u16 {
        let primary = self.primary();
        primary.kill();
        primary.port()
    }

    /// Waits until every running Sentinel names another primary than `former`, which takes writes; its port.
    pub fn wait_for_promotion(&self, former: u16) -> u16 {
        let running = || self.sentinels.iter().filter(|sentinel| sentinel.pid().is_some());
        let named = |sentinel: &RedisServer| {
            let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            address.list().get(1).and_then(|port| port.text().parse::<u16>().ok())
        };
        eventually(
            || {
                let ports: Vec<_> = running().map(named).collect();
                let port = ports.first().copied().flatten().filter(|port| *port != former)?;
                let agreed = ports.iter().all(|other| *other == Some(port));
                let server = self.data.iter().find(|server| server.port() == port)?;
                let promoted = server.pid().is_some() && server.command(&["ROLE"]).list()[0].text() == "master";
                (agreed && promoted).then_some(port)
            },
            || format!("a promotion; a Sentinel printed:\n{}", self.sentinels[0].log()),
        )
    }
}

/// A list of names and values, in turn.
fn pairs(reply: &Reply) -> Vec<(String, String)> {
    reply.list().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}
