//! Not too often: the pace of each client, of each device and towards each operator.
//!
//! The limits are asked in this order, and each cell that was taken stays taken: a request that is
//! refused for its device has still cost its client one, so that nobody probes for free.

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
    qod::{ClientId, OperatorId, Pace},
};

mod devices;
mod pacer;

use self::{devices::Devices, pacer::Pacer};

/// Holds everybody to their pace, by the generic cell rate algorithm.
#[derive(Debug)]
pub struct Limits {
    clients: HashMap<ClientId, Paced>,
    device: Option<PacedDevices>,
    operators: HashMap<OperatorId, Paced>,
    pacer: Pacer,
    metrics: Metrics,
}

type Direct = RateLimiter<NotKeyed, InMemoryState, Pacer, NoOpMiddleware<Duration>>;
type Keyed = RateLimiter<u64, Devices, Pacer, NoOpMiddleware<Duration>>;

// A limiter with what it was made by, so that it can be kept when other settings come.
#[derive(Clone, Debug)]
struct Paced {
    rate: Rate,
    limiter: Arc<Direct>,
}

#[derive(Clone, Debug)]
struct PacedDevices {
    rate: Rate,
    keys_max: usize,
    limiter: Arc<Keyed>,
}

/// Whose pace is held; whoever is not named here has none to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Each client's.
    pub clients: HashMap<ClientId, Rate>,
    /// Every single device's, all clients together.
    pub device: Option<Rate>,
    /// The pace towards each operator, all clients together.
    pub operators: HashMap<OperatorId, Rate>,
    /// How many devices are told apart. Those beyond share the pace of one.
    pub device_keys_max: usize,
}

/// So many in so long, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    every: Duration,
    burst: NonZeroU32,
}

/// A request that is let in. Only [`Limits::admit`] makes one:
///
/// ```compile_fail
/// # use qod_gateway::{access::Grant, limit::Admission};
/// fn forge(grant: Grant) -> Admission {
///     Admission(grant)
/// }
/// ```
#[derive(Debug)]
pub struct Admission(Grant);

/// Whoever asked must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests: the {} limit is {} in {} s", pace.policy, pace.quota, pace.window.as_secs())]
pub struct TooMany {
    /// How long, and by which limit.
    pub pace: Pace,
}

impl Rate {
    /// `count` in each `period`, evenly; up to `burst` at once after a rest. Nothing, if that is
    /// more than one in a nanosecond.
    pub fn new(count: NonZeroU32, period: Duration, burst: NonZeroU32) -> Option<Self> {
        let every = period.checked_div(count.get()).filter(|every| !every.is_zero())?;
        Some(Self { every, burst })
    }

    /// How many it lets through in any span of this time, at most.
    pub fn most_in(self, time: Duration) -> u64 {
        let evenly = time.as_nanos() / self.every.as_nanos().max(1);
        let most = u128::from(self.burst.get()).saturating_add(evenly).saturating_add(1);
        u64::try_from(most).unwrap_or(u64::MAX)
    }

    fn quota(self) -> Option<Quota> {
        Quota::with_period(self.every).map(|quota| quota.allow_burst(self.burst))
    }
}

impl Limits {
    /// Holds everybody to these settings from now on. Whoever has the same pace as before has used up
    /// as much of it as before.
    pub fn new(settings: Settings, clock: Clock, metrics: Metrics, before: Option<&Self>) -> Self {
        let Settings { clients, device, operators, device_keys_max: keys_max } = settings;
        let pacer = before.map_or_else(|| Pacer::new(clock), |before| before.pacer.clone());
        let kept = before.and_then(|before| before.device.clone());
        let device = device.and_then(|rate| {
            let kept = kept.filter(|kept| kept.rate == rate && kept.keys_max == keys_max);
            kept.or_else(|| {
                let limiter =
                    RateLimiter::new(rate.quota()?, Devices::new(keys_max), pacer.clone());
                Some(PacedDevices { rate, keys_max, limiter: Arc::new(limiter) })
            })
        });
        Self {
            clients: paced(clients, &pacer, before.map(|before| &before.clients)),
            device,
            operators: paced(operators, &pacer, before.map(|before| &before.operators)),
            pacer,
            metrics,
        }
    }

    /// Lets a request in, if its client keeps to its pace.
    pub fn admit(&self, grant: Grant) -> Result<Admission, TooMany> {
        match self.clients.get(grant.client().id()).map_or(Ok(()), Paced::check) {
            Ok(()) => Ok(Admission(grant)),
            Err(until) => Err(self.too_many("client", &until)),
        }
    }

    /// Is its device not asked for too often? The device by a keyed hash, whoever asks for it.
    pub fn admit_device(&self, _: &Admission, device_hash: u64) -> Result<(), TooMany> {
        let check = self.device.as_ref();
        let check = check.map_or(Ok(()), |device| device.limiter.check_key(&device_hash));
        check.map_err(|until| self.too_many("device", &until))
    }

    /// Is the operator not called too often?
    pub fn admit_operator(&self, _: &Admission, operator: &OperatorId) -> Result<(), TooMany> {
        let check = self.operators.get(operator).map_or(Ok(()), Paced::check);
        check.map_err(|until| self.too_many("operator", &until))
    }

    /// The pace of a client, of every device, and towards an operator.
    pub fn told(
        &self,
        client: &ClientId,
        operator: Option<&OperatorId>,
    ) -> Vec<(&'static str, String)> {
        let paced = |paced: Option<&Paced>| paced.map(|paced| paced.rate.to_string());
        let all = [
            ("client", paced(self.clients.get(client))),
            ("device", self.device.as_ref().map(|device| device.rate.to_string())),
            ("operator", operator.and_then(|id| paced(self.operators.get(id)))),
        ];
        all.into_iter().filter_map(|(limit, told)| Some((limit, told?))).collect()
    }

    /// Forgets the devices that are well within their pace; to be called every few seconds.
    pub fn shrink(&self) {
        if let Some(PacedDevices { limiter: device, .. }) = &self.device {
            device.retain_recent();
            device.shrink_to_fit();
            self.metrics.limiter_keys("device", device.len());
        }
    }

    fn too_many(&self, policy: &'static str, until: &NotUntil<Duration>) -> TooMany {
        self.metrics.limited(policy);
        let quota = until.quota();
        let burst = quota.burst_size().get();
        let window = whole_seconds(quota.replenish_interval().saturating_mul(burst));
        let retry_after = whole_seconds(until.wait_time_from(self.pacer.elapsed()));
        TooMany { pace: Pace { policy, quota: burst, window, remaining: 0, retry_after } }
    }
}

/// A limit, as it is told.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one every {:?}, {} at once", self.every, self.burst)
    }
}

impl Paced {
    fn check(&self) -> Result<(), NotUntil<Duration>> {
        self.limiter.check()
    }
}

fn paced<Id: Eq + Hash>(
    rates: HashMap<Id, Rate>,
    pacer: &Pacer,
    before: Option<&HashMap<Id, Paced>>,
) -> HashMap<Id, Paced> {
    let limiters = rates.into_iter().filter_map(|(id, rate)| {
        let kept = before.and_then(|before| before.get(&id)).filter(|kept| kept.rate == rate);
        let kept = kept.cloned().or_else(|| {
            let limiter = RateLimiter::direct_with_clock(rate.quota()?, pacer.clone());
            Some(Paced { rate, limiter: Arc::new(limiter) })
        });
        Some((id, kept?))
    });
    limiters.collect()
}

impl Admission {
    /// The leave that it was let in with.
    pub fn grant(&self) -> &Grant {
        &self.0
    }
}

// Rounded up: whoever waits so long has waited long enough. HTTP counts in seconds, from 1.
fn whole_seconds(duration: Duration) -> Duration {
    let more = u64::from(duration.subsec_nanos() > 0);
    Duration::from_secs(duration.as_secs().saturating_add(more).max(1))
}

#[cfg(test)]
mod tests;
