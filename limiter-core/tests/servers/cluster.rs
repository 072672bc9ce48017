//! A Redis Cluster.

use super::{RedisServer, ports::Port, process::eventually};

/// Hash slots of every cluster.
const SLOTS: usize = 16_384;
const PRIMARIES: usize = 3;

/// Three primaries that share all slots, with as many replicas each as wanted.
pub struct RedisCluster {
    /// The primaries first.
    nodes: Vec<RedisServer>,
    /// The ports among the nodes, claimed as long as the nodes live.
    _buses: Vec<Port>,
}

impl RedisCluster {
    pub fn start() -> RedisCluster {
        RedisCluster::start_with(0, &[])
    }

    /// With replicas of each primary, and with lines for every node's configuration. A primary counts as down after three
    /// seconds, which a busy machine may need for an answer.
    pub fn start_with(replicas: usize, settings: &[(&str, &str)]) -> RedisCluster {
        let start_node = |_| {
            let bus = Port::claim();
            let number = bus.number().to_string();
            let mut all = vec![("cluster-enabled", "yes"), ("cluster-node-timeout", "3000"), ("cluster-port", &number)];
            all.extend(settings);
            (RedisServer::start_with(&all), bus)
        };
        let (nodes, buses) = (0..PRIMARIES * (1 + replicas)).map(start_node).unzip();
        let cluster = RedisCluster { nodes, _buses: buses };
        cluster.meet();
        cluster.share_slots();
        cluster.wait_until_ready();
        cluster.follow();
        cluster.wait_until_ready();
        cluster
    }

    /// Introduces every node to every other, which is quicker than gossip.
    fn meet(&self) {
        for (place, node) in self.nodes.iter().enumerate() {
            agree(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        for (place, node) in self.nodes.iter().enumerate() {
            for (other, bus) in self.nodes.iter().zip(&self._buses).skip(place + 1) {
                let (port, bus) = (other.port().to_string(), bus.number().to_string());
                agree(node, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
            }
        }
    }

    fn share_slots(&self) {
        let bound = |place: usize| place * SLOTS / PRIMARIES;
        for (place, node) in self.primaries().iter().enumerate() {
            let (first, last) = (bound(place).to_string(), (bound(place + 1) - 1).to_string());
            agree(node, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
    }

    fn follow(&self) {
        for (place, node) in self.replicas().iter().enumerate() {
            let primary = self.nodes[place % PRIMARIES].command(&["CLUSTER", "MYID"]).text();
            agree(node, &["CLUSTER", "REPLICATE", &primary]);
        }
        for primary in self.primaries().iter().filter(|_| !self.replicas().is_empty()) {
            primary.wait_for_replica();
        }
    }

    /// Waits until every running node knows an owner of every slot that is up, and as many nodes as there are.
    pub fn wait_until_ready(&self) {
        let known = self.nodes.len().to_string();
        for node in self.nodes.iter().filter(|node| node.pid().is_some()) {
            eventually(
                || {
                    let info = node.command(&["CLUSTER", "INFO"]);
                    let is = |name, value: &str| info.field(name).as_deref() == Some(value);
                    let served = is("cluster_slots_ok", &SLOTS.to_string()) && is("cluster_known_nodes", &known);
                    (is("cluster_state", "ok") && served).then_some(())
                },
                || format!("a cluster that is ready; a node printed:\n{}", node.log()),
            );
        }
    }

    /// Waits until a replica has the slots of a primary that was killed, and every running node knows.
    pub fn wait_for_promotion(&self, killed: &RedisServer) -> &RedisServer {
        let place = self.primaries().iter().position(|node| node.port() == killed.port()).expect("a primary");
        let replicas = || self.replicas().iter().skip(place).step_by(PRIMARIES);
        let running = || self.nodes.iter().filter(|node| node.pid().is_some());
        let leads = |replica: &RedisServer, as_seen_by: &RedisServer| {
            let address = format!(" 127.0.0.1:{}@", replica.port());
            let nodes = as_seen_by.command(&["CLUSTER", "NODES"]).text();
            nodes.lines().any(|line| line.contains(&address) && line.contains("master"))
        };
        let promoted = eventually(
            || replicas().find(|replica| running().all(|node| leads(replica, node))),
            || "a replica's promotion".to_owned(),
        );
        self.wait_until_ready();
        promoted
    }

    /// The nodes' addresses, the primaries' first.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(RedisServer::port).collect()
    }

    /// The primaries of the start.
    pub fn primaries(&self) -> &[RedisServer] {
        &self.nodes[..PRIMARIES]
    }

    /// The replicas of the start: of each primary in turn.
    pub fn replicas(&self) -> &[RedisServer] {
        &self.nodes[PRIMARIES..]
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> usize {
        usize::try_from(self.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).integer()).unwrap()
    }

    /// The primary that had the slot of a key at the start.
    pub fn owner(&self, key: &str) -> &RedisServer {
        let slot = self.slot(key);
        let after = |place: &usize| slot < (place + 1) * SLOTS / PRIMARIES;
        &self.nodes[(0..PRIMARIES).find(after).unwrap()]
    }
}

fn agree(node: &RedisServer, words: &[&str]) {
    assert_eq!(node.command(words).text(), "OK", "{words:?}");
}
