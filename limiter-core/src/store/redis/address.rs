//! Where the servers are: the text forms of addresses.

use super::error::Failure;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use std::fmt;

/// Whom to ask, and how to find the primary.
#[derive(Clone)]
pub(super) enum Address {
    /// One server.
    One(ConnectionInfo),
    /// The primary of this name, as sentinels tell. The first information is how to log in at the primary.
    Sentinel { primary: ConnectionInfo, sentinels: Vec<ConnectionInfo>, name: String },
    /// The nodes that know the others of a Cluster.
    Cluster(Vec<ConnectionInfo>),
}

const SENTINEL: Failure = Failure::Setting {
    what: "the address names no primary",
    allowed: "redis+sentinel://host:port,host:port/name-of-the-primary, with /database after it",
};

impl Address {
    /// Reads `redis://…`, `redis+sentinel://…/name` or `redis+cluster://…`; the latter two with several hosts.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority
            .rsplit_once('@')
            .map_or(("", authority), |(_, hosts)| (&authority[..authority.len() - hosts.len()], hosts));
        let one = |login: &str, host: &str, path: &str| info(&format!("{base}://{login}{host}/{path}"));
        match kind {
            "" | "unix" => Ok(Self::One(info(text)?)),
            "cluster" => {
                if !path.is_empty() {
                    return Err(Failure::Setting {
                        what: "the address of a Cluster has a path",
                        allowed: "redis+cluster://host:port,host:port, as a Cluster has one database",
                    });
                }
                hosts.split(',').map(|host| one(login, host, "")).collect::<Result<_, _>>().map(Self::Cluster)
            }
            "sentinel" => {
                let (name, database) = path.split_once('/').unwrap_or((path, ""));
                if name.is_empty() {
                    return Err(SENTINEL);
                }
                let sentinels = hosts.split(',').map(|host| one("", host, "")).collect::<Result<Vec<_>, _>>()?;
                let primary = one(login, hosts.split(',').next().unwrap_or_default(), database)?;
                Ok(Self::Sentinel { primary, sentinels, name: name.to_owned() })
            }
            _ => Err(Failure::Setting {
                what: "the address begins with an unknown scheme",
                allowed: "redis://, rediss://, redis+unix://, and redis+sentinel:// or redis+cluster:// with several hosts",
            }),
        }
    }

    /// The same, logging in at sentinels with this password.
    pub(super) fn with_sentinel_login(mut self, user: Option<&str>, password: &str) -> Self {
        if let Self::Sentinel { sentinels, .. } = &mut self {
            for sentinel in sentinels {
                let mut login = sentinel.redis_settings().clone().set_password(password);
                if let Some(user) = user {
                    login = login.set_username(user);
                }
                *sentinel = sentinel.clone().set_redis_settings(login);
            }
        }
        self
    }
}

fn info(text: &str) -> Result<ConnectionInfo, Failure> {
    let info = text.into_connection_info().map_err(Failure::Address)?;
    // Its messages tell when a connection has ended, before anything is sent on it.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

/// `host` and `port` of another server, reached as `like` is.
pub(super) fn at(like: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match like.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    like.clone().set_addr(addr)
}

/// Host and port; of a socket's path, that.
pub(super) fn place(info: &ConnectionInfo) -> (String, u16) {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        other => (other.to_string(), 0),
    }
}

/// Hosts and ports alone.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |info: &ConnectionInfo| info.addr().to_string();
        match self {
            Self::One(info) => f.debug_tuple("One").field(&show(info)).finish(),
            Self::Sentinel { sentinels, name, .. } => {
                let sentinels: Vec<_> = sentinels.iter().map(show).collect();
                f.debug_struct("Sentinel").field("sentinels", &sentinels).field("name", name).finish()
            }
            Self::Cluster(nodes) => {
                f.debug_tuple("Cluster").field(&nodes.iter().map(show).collect::<Vec<_>>()).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::RedisConnectionInfo;

    fn login(info: &ConnectionInfo) -> &RedisConnectionInfo {
        info.redis_settings()
    }

    fn places(infos: &[ConnectionInfo]) -> Vec<(String, u16)> {
        infos.iter().map(place).collect()
    }

    #[test]
    fn addresses_are_read() {
        let Address::One(one) = Address::parse("redis://ada:secret@cache:7000/3").unwrap() else { panic!() };
        assert_eq!(place(&one), ("cache".to_owned(), 7000));
        assert_eq!((login(&one).username(), login(&one).db()), (Some("ada"), 3));
        let Address::Cluster(nodes) = Address::parse("redis+cluster://:secret@a:1,b:2,c").unwrap() else { panic!() };
        assert_eq!(places(&nodes), [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 6379)]);
        assert!(nodes.iter().all(|node| login(node).password() == Some("secret")));
        let text = "redis+sentinel://u:p@a:26379,b:26379/main/2";
        let Address::Sentinel { primary, sentinels, name } = Address::parse(text).unwrap() else { panic!() };
        assert_eq!((name.as_str(), sentinels.len(), login(&primary).db()), ("main", 2, 2));
        assert_eq!((login(&primary).password(), login(&sentinels[0]).password()), (Some("p"), None));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_the_password() {
        for text in [
            "http://secret@cache",
            "redis+nothing://:secret@cache",
            "redis+sentinel://:secret@cache:26379",
            "redis+cluster://:secret@a:1/2",
            "redis://:secret@cache/words",
            "redis://:secret@cache:port",
            "",
        ] {
            let failure = Address::parse(text).unwrap_err();
            assert_eq!(failure.kind(), crate::StoreErrorKind::Config, "{text}");
            assert!(!format!("{failure} {failure:?}").contains("secret"), "{failure:?}");
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        for text in ["redis://u:secret@a", "redis+cluster://u:secret@a,b", "redis+sentinel://u:secret@a/main"] {
            assert!(!format!("{:?}", Address::parse(text).unwrap()).contains("secret"));
        }
    }
}
