//! Which server to ask: the one, the primary that sentinels name, or the node of a Cluster that has the slot.

use super::{
    address::{self, Address},
    client::Node,
    error::Failure,
    name::SLOTS,
};
use redis::{Cmd, ConnectionInfo, Value, cmd};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Between two attempts at what a Cluster cannot answer while it fails over.
const PAUSE: Duration = Duration::from_millis(20);

/// The most places that a call is sent to; each but the last said that it did nothing.
const MOST_ATTEMPTS: usize = 32;

/// Host and port.
type Place = (String, u16);

/// All servers of a store.
pub(super) struct Servers {
    address: Address,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    nodes: HashMap<Place, Arc<Node>>,
    /// The primary that sentinels named last.
    primary: Option<Place>,
    /// The owner of each slot, once asked for.
    owners: Vec<Option<Place>>,
}

impl Servers {
    pub(super) fn new(address: Address) -> Self {
        Self { address, known: Mutex::default() }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.address, Address::Cluster(_))
    }

    /// Sends a command about names in `slot` to who is in charge of it. It is sent again only where a server said that it
    /// did nothing.
    pub(super) async fn call(&self, slot: u16, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let mut next_owner: Option<Arc<Node>> = None;
        let mut last = None;
        for _ in 0..MOST_ATTEMPTS {
            let (node, answer) = match next_owner.take() {
                Some(node) => {
                    let answer = node.call_asking(command, deadline).await;
                    (node, answer)
                }
                None => match self.node(slot, deadline).await {
                    Ok(node) => {
                        let answer = node.call(command, deadline).await;
                        (node, answer)
                    }
                    Err(failure) => return Err(last.unwrap_or(failure)),
                },
            };
            let failure = match answer {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if let Failure::Refused(error) = &failure
                && let Some((place, slot)) = error.redirect_node()
            {
                let place = parse_place(place, node.info());
                match error.code() {
                    Some("ASK") => next_owner = place.map(|place| self.known().node(place, node.info())),
                    _ => self.known().own(slot, place),
                }
                last = Some(failure);
                continue;
            }
            let can_wait = self.forget(&node, slot, &failure);
            if !can_wait || Instant::now() + PAUSE >= deadline {
                return Err(failure);
            }
            last = Some(failure);
            sleep(PAUSE).await;
        }
        Err(last.unwrap_or(Failure::NoNode(slot)))
    }

    /// All servers that take writes.
    pub(super) async fn primaries(&self, deadline: Instant) -> Result<Vec<Arc<Node>>, Failure> {
        if !self.is_cluster() {
            return Ok(vec![self.node(0, deadline).await?]);
        }
        self.learn_owners(0, deadline).await?;
        let mut known = self.known();
        let mut places: Vec<Place> = known.owners.iter().flatten().cloned().collect();
        places.sort();
        places.dedup();
        Ok(places.into_iter().map(|place| known.node(place, self.like())).collect())
    }

    async fn node(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, Failure> {
        if let Some(node) = self.known_node(slot) {
            return Ok(node);
        }
        match &self.address {
            Address::One(info) => Ok(self.known().node(address::place(info), info)),
            Address::Sentinel { .. } => self.find_primary(deadline).await,
            Address::Cluster(_) => self.learn_owners(slot, deadline).await,
        }
    }

    fn known_node(&self, slot: u16) -> Option<Arc<Node>> {
        let mut known = self.known();
        let place = match &self.address {
            Address::One(_) => None,
            Address::Sentinel { .. } => known.primary.clone(),
            Address::Cluster(_) => known.owners.get(usize::from(slot)).cloned().flatten(),
        }?;
        Some(known.node(place, self.like()))
    }

    /// Forgets who is in charge where a failure says that somebody else may be. Whether asking again can help and
    /// cannot do anything twice.
    fn forget(&self, node: &Node, slot: u16, failure: &Failure) -> bool {
        let is_moved = failure.is_refused(&["READONLY", "MASTERDOWN"]);
        let is_gone = matches!(failure, Failure::Connect(_) | Failure::NotSent | Failure::Lost(_));
        if is_moved || is_gone {
            let mut known = self.known();
            known.primary = None;
            known.own(slot, None);
        }
        if is_moved {
            // A name may lead to another server by now.
            node.disconnect();
        }
        match self.address {
            Address::One(_) => false,
            _ => {
                is_moved
                    || failure.is_refused(&["TRYAGAIN", "CLUSTERDOWN", "LOADING"])
                    || matches!(failure, Failure::Connect(error) if error.is_io_error())
            }
        }
    }

    /// Asks the sentinels in turn for the primary.
    async fn find_primary(&self, deadline: Instant) -> Result<Arc<Node>, Failure> {
        let Address::Sentinel { primary, sentinels, name } = &self.address else { return Err(Failure::Answer) };
        let mut last = None;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        for (left, sentinel) in (1..=sentinels.len()).rev().zip(sentinels) {
            let node = self.known().node(address::place(sentinel), sentinel);
            match node.call(&question, share(deadline, left)).await {
                Ok(Value::Array(parts)) => {
                    let text = |part: &Value| redis::from_redis_value::<String>(part.clone()).ok();
                    if let [host, port] = &parts[..]
                        && let (Some(host), Some(Ok(port))) = (text(host), text(port).map(|port| port.parse()))
                    {
                        let mut known = self.known();
                        known.primary = Some((host.clone(), port));
                        return Ok(known.node((host, port), primary));
                    }
                }
                Ok(_) => {}
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.filter(|failure| !matches!(failure, Failure::Lost(_))).unwrap_or(Failure::NoPrimary(name.clone())))
    }

    /// Asks nodes of the Cluster in turn who owns which slots; the owner of this one.
    async fn learn_owners(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, Failure> {
        let Address::Cluster(seeds) = &self.address else { return Err(Failure::Answer) };
        let nodes: Vec<Arc<Node>> = {
            let mut known = self.known();
            let seeds: Vec<_> = seeds.iter().map(|seed| known.node(address::place(seed), seed)).collect();
            let others: Vec<_> = known.nodes.values().cloned().collect();
            let is_new = |node: &Arc<Node>| !seeds.iter().any(|seed| Arc::ptr_eq(seed, node));
            seeds.iter().cloned().chain(others.into_iter().filter(is_new)).collect()
        };
        let mut question = cmd("CLUSTER");
        question.arg("SLOTS");
        let mut last = None;
        for (left, node) in (1..=nodes.len()).rev().zip(&nodes) {
            match node.call(&question, share(deadline, left)).await {
                Ok(value) => {
                    let mut known = self.known();
                    known.owners = owners(&value, node.info());
                    let place = known.owners.get(usize::from(slot)).cloned().flatten();
                    if let Some(place) = place {
                        return Ok(known.node(place, self.like()));
                    }
                }
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.filter(|failure| !matches!(failure, Failure::Lost(_))).unwrap_or(Failure::NoNode(slot)))
    }

    /// How servers found by others are reached.
    fn like(&self) -> &ConnectionInfo {
        match &self.address {
            Address::One(info) | Address::Sentinel { primary: info, .. } => info,
            Address::Cluster(seeds) => &seeds[0],
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn node(&mut self, place: Place, like: &ConnectionInfo) -> Arc<Node> {
        let node = self.nodes.entry(place).or_insert_with_key(|(host, port)| match port {
            0 => Arc::new(Node::new(like.clone())),
            port => Arc::new(Node::new(address::at(like, host, *port))),
        });
        Arc::clone(node)
    }

    fn own(&mut self, slot: u16, place: Option<Place>) {
        if let Some(owner) = self.owners.get_mut(usize::from(slot)) {
            *owner = place;
        }
    }
}

/// A part of the time left, so that one dead server leaves some for the others.
fn share(deadline: Instant, servers: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / parts
}

/// `host:port`, where no host stands for that of who says it.
fn parse_place(text: &str, said_by: &ConnectionInfo) -> Option<Place> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = if host.is_empty() { address::place(said_by).0 } else { host.to_owned() };
    Some((host, port))
}

/// The owners in an answer to `CLUSTER SLOTS`.
fn owners(answer: &Value, said_by: &ConnectionInfo) -> Vec<Option<Place>> {
    let mut owners = vec![None; usize::from(SLOTS)];
    let Value::Array(ranges) = answer else { return owners };
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &parts[..] else { continue };
        let [host, Value::Int(port), ..] = &primary[..] else { continue };
        let host = redis::from_redis_value::<String>(host.clone()).unwrap_or_default();
        let host = if host.is_empty() || host == "?" { address::place(said_by).0 } else { host };
        let (Ok(first), Ok(last)) = (usize::try_from(*first), usize::try_from(*last)) else { continue };
        let Ok(port) = u16::try_from(*port) else { continue };
        if let Some(slots) = owners.get_mut(first..=last) {
            slots.fill(Some((host, port)));
        }
    }
    owners
}
