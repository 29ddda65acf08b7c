//! Rate limits per client, per device and per operator.
//!
//! The limits are checked in this order, and a consumed cell is not returned: a request that the
//! device limit rejects still counts against the client limit, so that probing is not free.

use std::{collections::HashMap, fmt, hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    NotUntil, Quota, RateLimiter,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use crate::{
    access::Grant,
    clock::Clock,
    metrics::Metrics,
    qod::{ClientId, OperatorId, RateLimitStatus},
};

mod devices;
mod leased;
mod leased_devices;
mod pacer;
mod shared;

pub use self::shared::{LimitFallback, SharedLimits};
use self::{
    devices::DeviceStates, leased::LeasedCells, leased_devices::LeasedDevices, pacer::LimiterClock,
    shared::Denial,
};

/// The rate limiters of all clients, devices and operators (generic cell rate algorithm).
#[derive(Debug)]
pub struct Limits {
    clients: HashMap<ClientId, LimiterEntry>,
    device: Option<DeviceLimiter>,
    operators: HashMap<OperatorId, LimiterEntry>,
    scope: LimitScope,
    shared: Option<SharedLimits>,
    limiter_clock: LimiterClock,
    metrics: Metrics,
}

type DirectLimiter = RateLimiter<NotKeyed, InMemoryState, LimiterClock, NoOpMiddleware<Duration>>;
type KeyedLimiter = RateLimiter<u64, DeviceStates, LimiterClock, NoOpMiddleware<Duration>>;

// A limiter with its rate, so that a reload can reuse it if the rate is unchanged.
#[derive(Clone, Debug)]
struct LimiterEntry {
    rate: Rate,
    limiter: Arc<DirectLimiter>,
    // If there is a database.
    cells: Option<Arc<LeasedCells>>,
}

#[derive(Clone, Debug)]
struct DeviceLimiter {
    rate: Rate,
    keys_max: usize,
    limiter: Arc<KeyedLimiter>,
    // If there is a database.
    devices: Option<Arc<LeasedDevices>>,
}

/// Configured rate limits. Clients and operators that are not listed are not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Rate of each client.
    pub clients: HashMap<ClientId, Rate>,
    /// Rate of each device, across all clients.
    pub device: Option<Rate>,
    /// Rate of requests to each operator, across all clients.
    pub operators: HashMap<OperatorId, Rate>,
    /// Maximum number of devices tracked individually. Further devices share one limit per shard.
    pub device_keys_max: usize,
    /// Where the limits apply.
    pub scope: LimitScope,
}

/// Where limits apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitScope {
    /// To each process.
    #[default]
    Local,
    /// To all replicas together, if the process has [`SharedLimits`]; otherwise to each process.
    Shared(LimitFallback),
}

/// A rate: one request per interval, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
}

/// Why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    /// A rate limit is exceeded.
    Exceeded(TooManyRequests),
    /// The database of the shared limits does not answer, and the policies refuse requests then.
    Unavailable,
}

/// Proof that a request passed the client's rate limit. Only [`Limits::admit`] creates one.
#[derive(Debug)]
pub struct Admission(Grant);

/// A rate limit is exceeded; the caller must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded: the {} limit is {} requests per {} s", pace.policy, pace.quota, pace.window.as_secs())]
pub struct TooManyRequests {
    /// The exceeded limit and the time to wait.
    pub pace: RateLimitStatus,
}

impl Rate {
    /// Creates a rate of `count` evenly spaced requests per `period`, with up to `burst` at once.
    /// Returns `None` if that exceeds one request per nanosecond.
    pub fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32) -> Option<Self> {
        let interval = period.checked_div(count.get()).filter(|interval| !interval.is_zero())?;
        Some(Self { interval, burst })
    }

    /// Returns the maximum number of requests allowed within any span of this duration.
    pub fn max_in(self, time: Duration) -> u64 {
        let steady = time.as_nanos() / self.interval.as_nanos().max(1);
        let max = u128::from(self.burst.get()).saturating_add(steady).saturating_add(1);
        u64::try_from(max).unwrap_or(u64::MAX)
    }

    // The time in which the burst is replenished.
    fn size(self) -> Duration {
        self.interval.saturating_mul(self.burst.get())
    }

    fn quota(self) -> Option<Quota> {
        Quota::with_period(self.interval).map(|quota| quota.allow_burst(self.burst))
    }
}

impl Limits {
    /// Creates the limiters. Limiters of `previous` with an unchanged rate are reused, with their
    /// consumed cells.
    pub fn new(
        settings: Settings,
        clock: Clock,
        metrics: Metrics,
        previous: Option<&Self>,
    ) -> Self {
        let Settings { clients, device, operators, device_keys_max: keys_max, scope } = settings;
        let limiter_clock = previous
            .map_or_else(|| LimiterClock::new(clock), |previous| previous.limiter_clock.clone());
        let reusable = previous.and_then(|previous| previous.device.clone());
        let device = device.and_then(|rate| {
            let reusable = reusable.filter(|old| old.rate == rate && old.keys_max == keys_max);
            reusable.or_else(|| {
                let limiter = RateLimiter::new(
                    rate.quota()?,
                    DeviceStates::new(keys_max),
                    limiter_clock.clone(),
                );
                Some(DeviceLimiter { rate, keys_max, limiter: Arc::new(limiter), devices: None })
            })
        });
        let mut limits = Self {
            clients: limiters(clients, &limiter_clock, previous.map(|previous| &previous.clients)),
            device,
            operators: limiters(
                operators,
                &limiter_clock,
                previous.map(|previous| &previous.operators),
            ),
            scope,
            shared: None,
            limiter_clock,
            metrics,
        };
        if let Some(shared) = previous.and_then(|previous| previous.shared.clone()) {
            limits.share(shared);
        }
        limits
    }

    /// Connects the limits to those of other replicas. Limits that are reused keep their leases.
    pub fn share(&mut self, shared: SharedLimits) {
        for (id, entry) in &mut self.clients {
            entry.cells.get_or_insert_with(|| shared.cells("client", &id.0, entry.rate));
        }
        for (id, entry) in &mut self.operators {
            entry.cells.get_or_insert_with(|| shared.cells("operator", &id.0, entry.rate));
        }
        if let Some(device) = &mut self.device {
            device.devices.get_or_insert_with(|| {
                let overflow = |shard: u64| shared.key("devices", &shard.to_be_bytes());
                Arc::new(LeasedDevices::new(device.rate, device.keys_max, overflow))
            });
        }
        self.shared = Some(shared);
    }

    /// Admits a request if it is within its client's rate limit.
    pub async fn admit(&self, grant: Grant) -> Result<Admission, NotAdmitted> {
        if let Some(entry) = self.clients.get(grant.client().id()) {
            logged("client", self.check("client", entry).await)?;
        }
        Ok(Admission(grant))
    }

    /// Checks the device's rate limit, which all clients share. `device_hash` is a keyed hash, the same at
    /// all replicas.
    pub async fn admit_device(&self, _: &Admission, device_hash: u64) -> Result<(), NotAdmitted> {
        let Some(device) = &self.device else { return Ok(()) };
        let cells = device.devices.as_ref().and_then(|devices| devices.get(device_hash));
        if let Some((shared, cells, fallback)) = self.shared(cells.as_ref()) {
            return logged("device", self.check_shared("device", shared, cells, fallback).await);
        }
        let check = device.limiter.check_key(&device_hash);
        logged("device", check.map_err(|until| self.too_many_requests("device", &until)))
    }

    /// Checks the operator's rate limit.
    pub async fn admit_operator(
        &self,
        _: &Admission,
        operator: &OperatorId,
    ) -> Result<(), NotAdmitted> {
        match self.operators.get(operator) {
            Some(entry) => logged("operator", self.check("operator", entry).await),
            None => Ok(()),
        }
    }

    async fn check(&self, policy: &'static str, entry: &LimiterEntry) -> Result<(), NotAdmitted> {
        if let Some((shared, cells, fallback)) = self.shared(entry.cells.as_ref()) {
            return self.check_shared(policy, shared, cells, fallback).await;
        }
        entry.limiter.check().map_err(|until| self.too_many_requests(policy, &until))
    }

    // `None` if the limit applies to this process.
    fn shared<'a>(
        &'a self,
        cells: Option<&'a Arc<LeasedCells>>,
    ) -> Option<(&'a SharedLimits, &'a Arc<LeasedCells>, LimitFallback)> {
        match self.scope {
            LimitScope::Local => None,
            LimitScope::Shared(fallback) => Some((self.shared.as_ref()?, cells?, fallback)),
        }
    }

    async fn check_shared(
        &self,
        policy: &'static str,
        shared: &SharedLimits,
        cells: &Arc<LeasedCells>,
        fallback: LimitFallback,
    ) -> Result<(), NotAdmitted> {
        match shared.take(cells, fallback).await {
            Ok(()) => Ok(()),
            Err(Denial::Unavailable) => Err(NotAdmitted::Unavailable),
            Err(Denial::Exceeded(wait)) => {
                let Rate { interval, burst } = cells.rate();
                Err(self.exceeded(policy, burst.get(), interval, wait))
            }
        }
    }

    /// Describes the limits of a client, of each device, and of an operator.
    pub fn describe(
        &self,
        client: &ClientId,
        operator: Option<&OperatorId>,
    ) -> Vec<(&'static str, String)> {
        let rate = |limiter: Option<&LimiterEntry>| limiter.map(|limiter| limiter.rate.to_string());
        let all = [
            ("client", rate(self.clients.get(client))),
            ("device", self.device.as_ref().map(|device| device.rate.to_string())),
            ("operator", operator.and_then(|id| rate(self.operators.get(id)))),
        ];
        all.into_iter().filter_map(|(limit, rate)| Some((limit, rate?))).collect()
    }

    /// Removes the state of idle devices. Must be called every few seconds.
    pub fn shrink(&self) {
        if let Some(DeviceLimiter { limiter: device, .. }) = &self.device {
            device.retain_recent();
            device.shrink_to_fit();
            self.metrics.set_rate_limiter_keys("device", device.len());
        }
        if let LimitScope::Shared(_) = self.scope
            && let Some(shared) = &self.shared
        {
            shared.prune();
            let devices = self.device.as_ref().and_then(|device| device.devices.as_ref());
            if let Some(devices) = devices {
                let now = self.limiter_clock.tick();
                self.metrics.set_rate_limiter_keys("device", devices.retain_recent(now));
            }
        }
    }

    fn too_many_requests(&self, policy: &'static str, until: &NotUntil<Duration>) -> NotAdmitted {
        let (quota, wait) = (until.quota(), until.wait_time_from(self.limiter_clock.elapsed()));
        self.exceeded(policy, quota.burst_size().get(), quota.replenish_interval(), wait)
    }

    fn exceeded(
        &self,
        policy: &'static str,
        burst: u32,
        interval: Duration,
        wait: Duration,
    ) -> NotAdmitted {
        self.metrics.record_rate_limited(policy);
        let window = whole_seconds(interval.saturating_mul(burst));
        let retry_after = whole_seconds(wait);
        NotAdmitted::Exceeded(TooManyRequests {
            pace: RateLimitStatus { policy, quota: burst, window, remaining: 0, retry_after },
        })
    }
}

/// Formats the rate for `explain`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one per {:?}, burst {}", self.interval, self.burst)
    }
}

fn limiters<Id: Eq + Hash>(
    rates: HashMap<Id, Rate>,
    limiter_clock: &LimiterClock,
    previous: Option<&HashMap<Id, LimiterEntry>>,
) -> HashMap<Id, LimiterEntry> {
    let limiters = rates.into_iter().filter_map(|(id, rate)| {
        let reusable = previous.and_then(|previous| previous.get(&id));
        let limiter = reusable.filter(|old| old.rate == rate).cloned().or_else(|| {
            let limiter = RateLimiter::direct_with_clock(rate.quota()?, limiter_clock.clone());
            Some(LimiterEntry { rate, limiter: Arc::new(limiter), cells: None })
        });
        Some((id, limiter?))
    });
    limiters.collect()
}

impl Admission {
    /// Returns the grant of the admitted request.
    pub fn grant(&self) -> &Grant {
        &self.0
    }
}

// Rounded up, so that waiting this long is sufficient. `Retry-After` is in whole seconds, at least
// 1.
fn whole_seconds(duration: Duration) -> Duration {
    let partial = u64::from(duration.subsec_nanos() > 0);
    Duration::from_secs(duration.as_secs().saturating_add(partial).max(1))
}

// Logs the decision of one limit at level debug.
fn logged(limit: &'static str, result: Result<(), NotAdmitted>) -> Result<(), NotAdmitted> {
    tracing::debug!(
        event = "limit_checked",
        limit,
        admitted = result.is_ok(),
        "rate limit checked"
    );
    result
}

#[cfg(test)]
mod tests;
