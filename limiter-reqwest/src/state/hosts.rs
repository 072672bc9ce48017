//! The hosts by what requests are counted by.

use super::Host;
use limiter_core::KeyBuf;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many keys are remembered before those that nothing is to be known of are forgotten.
const MANY: usize = 4096;

/// What is known of each key, by its policy's place and itself.
#[derive(Default)]
pub(crate) struct Hosts(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_key: HashMap<(usize, KeyBuf), Arc<Host>>,
    /// Above so many, it is time to forget.
    most: usize,
}

impl Hosts {
    /// What is known of `key`; what `new` makes where that is nothing.
    pub(crate) fn get(&self, policy: usize, key: &KeyBuf, new: impl FnOnce() -> Host) -> Arc<Host> {
        let mut known = self.lock();
        let name = (policy, key.clone());
        if let Some(host) = known.by_key.get(&name) {
            return Arc::clone(host);
        }
        if known.by_key.len() >= known.most.max(MANY) {
            known.by_key.retain(|_, host| Arc::strong_count(host) > 1 || host.is_of_note());
            known.most = 2 * known.by_key.len();
        }
        let host = Arc::new(new());
        known.by_key.insert(name, Arc::clone(&host));
        host
    }

    /// What is known of `key`, if anything is.
    pub(crate) fn find(&self, policy: usize, key: &KeyBuf) -> Option<Arc<Host>> {
        self.lock().by_key.get(&(policy, key.clone())).cloned()
    }

    /// All of them, with the places of their policies.
    pub(crate) fn all(&self) -> Vec<(usize, KeyBuf, Arc<Host>)> {
        self.lock().by_key.iter().map(|((policy, key), host)| (*policy, key.clone(), Arc::clone(host))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hosts({})", self.lock().by_key.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::Learning;
    use std::time::Duration;

    fn get(hosts: &Hosts, n: usize) -> Arc<Host> {
        hosts.get(0, &KeyBuf::of(&n.to_string()), || Host::new("a.example"))
    }

    #[test]
    fn a_crawl_of_many_hosts_keeps_those_that_matter() {
        let hosts = Hosts::default();
        let in_line = get(&hosts, 0);
        let _place = in_line.enter_line();
        for n in 1..10 * MANY {
            get(&hosts, n);
        }
        assert!(hosts.all().len() <= MANY);
        assert!(Arc::ptr_eq(&get(&hosts, 0), &in_line));
    }

    #[tokio::test]
    async fn a_host_that_refused_is_kept_as_long_as_it_has_to_be_left_alone() {
        let hosts = Hosts::default();
        for (n, pause) in (0..10 * MANY).map(|n| (n, if n == 0 { 600 } else { 0 })) {
            let host = get(&hosts, n);
            let turn = host.line(Learning::default()).turn(Duration::ZERO).await.unwrap();
            turn.go().refused(Some(Duration::from_secs(pause)));
        }
        assert!(hosts.all().len() <= MANY);
        assert!(get(&hosts, 0).learned().is_some_and(|learned| learned.stopped));
    }
}
