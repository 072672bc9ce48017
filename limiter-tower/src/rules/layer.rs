//! The layer: rules in force, which others can take the place of while requests run.

use super::{
    change::RulesChange,
    error::RulesError,
    rule::{PolicyRule, Rules},
    service::RulesService,
};
use crate::{RateLimitLayer, decision::Settings};
use arc_swap::{ArcSwap, Guard};
use limiter_core::{KeyBuf, Limiter, LimiterBuilder, MemoryStore, Quota, Store};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tower_layer::Layer;

/// Limits an HTTP service by [`Rules`], which can be changed while requests run.
///
/// Cheap to clone. All services made by a layer and its clones are under the same rules, and
/// [`apply`](Self::apply), [`reload`](Self::reload) and [`watch`](Self::watch) change them for all of them.
///
/// ```
/// use limiter_tower::{RulesFormat, RulesLayer, RulesReader};
///
/// # fn main() -> Result<(), limiter_tower::RulesError> {
/// let reader = RulesReader::new();
/// let rules = |quota: &str| {
///     let text = format!("[[policy]]\nname = 'api'\nquota = '{quota}'");
///     reader.parse(&text, RulesFormat::Toml)
/// };
/// let layer = RulesLayer::new(rules("100/min")?);
/// let change = layer.apply(rules("200/min")?); // in force at once, with the units in use carried over
/// assert_eq!(change.to_string(), "changed: api");
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer limits nothing until it is applied"]
pub struct RulesLayer<S: Store = MemoryStore>(Arc<InForce<S>>);

/// The rules in force, and how to put others in force.
pub(super) struct InForce<S: Store> {
    settings: ArcSwap<Settings<S>>,
    state: Mutex<State<S>>,
    setup: Setup<S>,
}

/// What the settings were made of: taken to change them, never by requests.
struct State<S: Store> {
    rules: Rules,
    /// In the order of the policies.
    limiters: Vec<Limiter<S>>,
    /// Policies that are gone, the latest last. A request may still wait under one when it comes back: with a limiter of
    /// its own, its quota would be one of another process's.
    gone: Vec<(PolicyRule, Limiter<S>)>,
}

/// Policies that are gone and remembered.
const MOST_GONE: usize = 64;

/// What is not in rules.
struct Setup<S: Store> {
    store: S,
    /// Where policies are counted while the store fails, whatever the rules.
    local: MemoryStore,
    limiter: Box<dyn Fn(LimiterBuilder<S>) -> LimiterBuilder<S> + Send + Sync>,
    layer: Box<dyn Fn(RateLimitLayer<S>) -> RateLimitLayer<S> + Send + Sync>,
}

impl RulesLayer {
    /// Puts rules in force, with the state in this process's memory.
    pub fn new(rules: Rules) -> Self {
        Self::builder(rules, MemoryStore::new()).build()
    }

    /// Settings that rules do not have: the store, hooks, what only code can say.
    ///
    /// A policy counts under its name in the store, together with those of other processes, and of other layers over
    /// the same store, that have the name.
    ///
    /// ```
    /// use limiter_core::MemoryStore;
    /// use limiter_tower::{RulesFormat, RulesLayer, RulesReader};
    ///
    /// # fn main() -> Result<(), limiter_tower::RulesError> {
    /// let rules = RulesReader::new().parse(r#"policy = [{ name = "all", quota = "9/s" }]"#, RulesFormat::Toml)?;
    /// let layer = RulesLayer::builder(rules, MemoryStore::new())
    ///     .with_layer(|layer| layer.on_decision(|event| eprintln!("{event}")))
    ///     .build();
    /// # let _ = layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder<S: Store>(rules: Rules, store: S) -> RulesLayerBuilder<S> {
        let local = MemoryStore::new();
        let setup = Setup { store, local, limiter: Box::new(|builder| builder), layer: Box::new(|layer| layer) };
        RulesLayerBuilder { rules, setup }
    }
}

impl<S: Store> RulesLayer<S> {
    /// Puts other rules in force, for all requests from now on; those under way go on under the rules they came under.
    ///
    /// A policy keeps its name's count: what is in use stays in use, under its new quota too, as with
    /// [`Limiter::set_quota`]. One that is gone limits nothing any more; its count stays in the store until it is used
    /// up, should the policy come back.
    ///
    /// While a failing store is left alone, it stays so for the rest of the pause, where the breaker's setting is the same.
    ///
    /// A decision that another thread is making at that very instant is under the quota before, if it comes before any
    /// under the new one: what is in use of a key is never forgotten for it.
    pub fn apply(&self, rules: Rules) -> RulesChange {
        self.0.apply(self.0.state(), rules)
    }

    /// Reads the file that the rules came from again, and puts what it says in force.
    ///
    /// ```
    /// use limiter_tower::{RulesLayer, RulesReader};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("limiter-rules-doc-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// let path = folder.join("rules.toml");
    /// std::fs::write(&path, "policy = [{ name = 'api', quota = '5/s' }]")?;
    /// let layer = RulesLayer::new(RulesReader::new().read(&path)?);
    ///
    /// std::fs::write(&path, "policy = [{ name = 'api', quota = '5 a second' }]")?;
    /// assert!(layer.reload().unwrap_err().to_string().contains("rules.toml:1:38: "));
    ///
    /// std::fs::write(&path, "policy = [{ name = 'search', quota = '5/s' }]")?;
    /// assert_eq!(layer.reload()?.to_string(), "added: search; removed: api");
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RulesError`] where they came from no file, where it cannot be read, or with every mistake in it. The rules
    /// that were in force stay so.
    pub fn reload(&self) -> Result<RulesChange, RulesError> {
        let state = self.0.state();
        let (path, _) = state.rules.source.as_ref().ok_or_else(RulesError::no_file)?;
        let rules = state.rules.reader().read(path)?;
        Ok(self.0.apply(state, rules))
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.0.state().rules.clone()
    }

    pub(super) fn in_force(&self) -> &Arc<InForce<S>> {
        &self.0
    }

    pub(super) fn of(in_force: Arc<InForce<S>>) -> Self {
        Self(in_force)
    }
}

/// Settings for a [`RulesLayer`] that rules do not have.
#[must_use = "settings do nothing until they are built"]
pub struct RulesLayerBuilder<S: Store> {
    rules: Rules,
    setup: Setup<S>,
}

impl<S: Store> RulesLayerBuilder<S> {
    /// Changes how each policy's limiter is built: its clock, its timer. Its name is the policy's.
    pub fn with_limiter(self, build: impl Fn(LimiterBuilder<S>) -> LimiterBuilder<S> + Send + Sync + 'static) -> Self {
        Self { setup: Setup { limiter: Box::new(build), ..self.setup }, ..self }
    }

    /// Changes the layer that rules make, each time they do: hooks, answers by closure, predicates.
    pub fn with_layer(self, change: impl Fn(RateLimitLayer<S>) -> RateLimitLayer<S> + Send + Sync + 'static) -> Self {
        Self { setup: Setup { layer: Box::new(change), ..self.setup }, ..self }
    }

    /// Puts the rules in force.
    pub fn build(self) -> RulesLayer<S> {
        let Self { rules, setup } = self;
        let (settings, limiters) = setup.make(&rules, None, None);
        let state = Mutex::new(State { rules, limiters, gone: Vec::new() });
        RulesLayer(Arc::new(InForce { settings: ArcSwap::new(settings), state, setup }))
    }
}

impl<S: Store> InForce<S> {
    /// The settings that a request is under.
    pub(super) fn settings(&self) -> Guard<Arc<Settings<S>>> {
        self.settings.load()
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, mut state: MutexGuard<'_, State<S>>, rules: Rules) -> RulesChange {
        let change = RulesChange::between(&state.rules, &rules);
        let (settings, limiters) = self.setup.make(&rules, Some(&state), Some(&self.settings.load()));
        self.settings.store(settings);
        let gone = state.gone(&rules);
        *state = State { rules, limiters, gone };
        change
    }
}

impl<S: Store> Setup<S> {
    /// What comes in the place of the settings that are `in_force`, made of `before`.
    fn make(
        &self,
        rules: &Rules,
        before: Option<&State<S>>,
        in_force: Option<&Settings<S>>,
    ) -> (Arc<Settings<S>>, Vec<Limiter<S>>) {
        let mut limiters = Vec::new();
        let limiter = |rule: &PolicyRule| {
            let limiter = before.and_then(|before| before.kept(rule)).unwrap_or_else(|| self.limiter(rule));
            limiters.push(limiter.clone());
            limiter
        };
        let mut layer = (self.layer)(rules.layer(limiter, self.local.clone()));
        if let Some(in_force) = in_force {
            layer = layer.with_failing(|failing| failing.in_place_of(&in_force.failing));
        }
        (layer.0, limiters)
    }

    fn limiter(&self, rule: &PolicyRule) -> Limiter<S> {
        let builder = match rule.plans.is_empty() {
            true => Limiter::builder(rule.quota.clone()),
            false => Limiter::by_key(plan_of(rule)),
        };
        let builder = (self.limiter)(builder.store(self.store.clone()));
        // One store for all, and a name that the next rules find again.
        builder.store(self.store.clone()).name(rule.name.as_str()).build()
    }
}

impl<S: Store> State<S> {
    /// The limiter of a policy that was there before, under its quotas of now.
    fn kept(&self, rule: &PolicyRule) -> Option<Limiter<S>> {
        let (was, limiter) = self.known().find(|(was, _)| was.name == rule.name)?;
        let has_same_quotas = rule.quota == was.quota && rule.plans == was.plans;
        if has_same_quotas && (rule.plans.is_empty() || rule.has_members() == was.has_members()) {
            return Some(limiter.clone());
        }
        match rule.plans.is_empty() {
            true => limiter.set_quota(rule.quota.clone()),
            false => limiter.set_rule(plan_of(rule)),
        }
        Some(limiter.clone())
    }

    fn known(&self) -> impl Iterator<Item = (&PolicyRule, &Limiter<S>)> {
        let gone = self.gone.iter().map(|(rule, limiter)| (rule, limiter));
        gone.chain(self.rules.said.policies.iter().zip(&self.limiters))
    }

    /// The policies that are gone under `rules`.
    fn gone(&self, rules: &Rules) -> Vec<(PolicyRule, Limiter<S>)> {
        let is_gone = |was: &PolicyRule| rules.said.policies.iter().all(|rule| rule.name != was.name);
        let gone = self.known().filter(|(was, _)| is_gone(was));
        let mut gone: Vec<_> = gone.map(|(rule, limiter)| (rule.clone(), limiter.clone())).collect();
        gone.drain(..gone.len().saturating_sub(MOST_GONE));
        gone
    }
}

/// The quota of each key, by its value or, where it has several members, by the first one's.
fn plan_of(rule: &PolicyRule) -> impl Fn(&[u8]) -> Quota + Send + Sync + 'static {
    let has_members = rule.has_members();
    let key_of = |name: &String| match has_members {
        true => KeyBuf::of(&(name,)),
        false => KeyBuf::of(name),
    };
    let plans = rule.plans.iter().map(|(name, quota)| (key_of(name).as_slice().into(), quota.clone()));
    let mut plans: Vec<(Box<[u8]>, Quota)> = plans.collect();
    plans.sort_by(|(a, _), (b, _)| a.cmp(b));
    let default = rule.quota.clone();
    move |key| {
        // Members stand behind their lengths, so that none begins with another: the last that is not behind the key.
        let behind = plans.partition_point(|(plan, _)| **plan <= *key);
        let nearest = behind.checked_sub(1).and_then(|place| plans.get(place));
        let is_met = |plan: &[u8]| if has_members { key.starts_with(plan) } else { key == plan };
        nearest.filter(|(plan, _)| is_met(plan)).map_or(&default, |(_, quota)| quota).clone()
    }
}

impl<Svc, S: Store> Layer<Svc> for RulesLayer<S> {
    type Service = RulesService<Svc, S>;

    fn layer(&self, inner: Svc) -> Self::Service {
        RulesService::new(inner, Arc::clone(&self.0))
    }
}

impl<S: Store> Clone for RulesLayer<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Store> fmt::Debug for RulesLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RulesLayer").field(&self.0).finish()
    }
}

impl<S: Store> fmt::Debug for InForce<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InForce").field(&*self.settings.load()).finish()
    }
}

impl<S: Store> fmt::Debug for RulesLayerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RulesLayerBuilder").field("rules", &self.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_GONE, RulesLayer};
    use crate::{Rules, RulesFormat, RulesReader};

    fn one(name: &str, quota: &str) -> Rules {
        let text = format!("policy = [{{ name = '{name}', quota = '{quota}' }}]");
        RulesReader::new().parse(&text, RulesFormat::Toml).unwrap()
    }

    #[test]
    fn a_policy_that_comes_back_has_the_limiter_under_which_requests_may_still_wait() {
        let layer = RulesLayer::new(one("api", "10/day"));
        let limiter = layer.0.state().limiters[0].clone();
        layer.apply(one("other", "1/s"));
        layer.apply(one("another", "1/s"));
        layer.apply(one("api", "20/day"));
        assert_eq!(limiter.quota(), "20/day".parse().ok());
        for n in 0..2 * MOST_GONE {
            layer.apply(one(&format!("policy{n}"), "1/s"));
        }
        assert_eq!(layer.0.state().gone.len(), MOST_GONE);
    }
}
