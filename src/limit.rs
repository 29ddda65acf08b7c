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
mod pacer;

use self::{devices::DeviceStates, pacer::LimiterClock};

/// The rate limiters of all clients, devices and operators (generic cell rate algorithm).
#[derive(Debug)]
pub struct Limits {
    clients: HashMap<ClientId, LimiterEntry>,
    device: Option<DeviceLimiter>,
    operators: HashMap<OperatorId, LimiterEntry>,
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
}

#[derive(Clone, Debug)]
struct DeviceLimiter {
    rate: Rate,
    keys_max: usize,
    limiter: Arc<KeyedLimiter>,
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
}

/// A rate: one request per interval, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: NonZeroU32,
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
        let Settings { clients, device, operators, device_keys_max: keys_max } = settings;
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
                Some(DeviceLimiter { rate, keys_max, limiter: Arc::new(limiter) })
            })
        });
        Self {
            clients: limiters(clients, &limiter_clock, previous.map(|previous| &previous.clients)),
            device,
            operators: limiters(
                operators,
                &limiter_clock,
                previous.map(|previous| &previous.operators),
            ),
            limiter_clock,
            metrics,
        }
    }

    /// Admits a request if it is within its client's rate limit.
    pub fn admit(&self, grant: Grant) -> Result<Admission, TooManyRequests> {
        match self.clients.get(grant.client().id()).map_or(Ok(()), LimiterEntry::check) {
            Ok(()) => Ok(Admission(grant)),
            Err(until) => Err(self.too_many_requests("client", &until)),
        }
    }

    /// Checks the device's rate limit, which all clients share. `device_hash` is a keyed hash.
    pub fn admit_device(&self, _: &Admission, device_hash: u64) -> Result<(), TooManyRequests> {
        let check = self.device.as_ref();
        let check = check.map_or(Ok(()), |device| device.limiter.check_key(&device_hash));
        check.map_err(|until| self.too_many_requests("device", &until))
    }

    /// Checks the operator's rate limit.
    pub fn admit_operator(
        &self,
        _: &Admission,
        operator: &OperatorId,
    ) -> Result<(), TooManyRequests> {
        let check = self.operators.get(operator).map_or(Ok(()), LimiterEntry::check);
        check.map_err(|until| self.too_many_requests("operator", &until))
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
    }

    fn too_many_requests(
        &self,
        policy: &'static str,
        until: &NotUntil<Duration>,
    ) -> TooManyRequests {
        self.metrics.record_rate_limited(policy);
        let quota = until.quota();
        let burst = quota.burst_size().get();
        let window = whole_seconds(quota.replenish_interval().saturating_mul(burst));
        let retry_after = whole_seconds(until.wait_time_from(self.limiter_clock.elapsed()));
        TooManyRequests {
            pace: RateLimitStatus { policy, quota: burst, window, remaining: 0, retry_after },
        }
    }
}

/// Formats the rate for `explain`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one per {:?}, burst {}", self.interval, self.burst)
    }
}

impl LimiterEntry {
    fn check(&self) -> Result<(), NotUntil<Duration>> {
        self.limiter.check()
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
            Some(LimiterEntry { rate, limiter: Arc::new(limiter) })
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

#[cfg(test)]
mod tests;
