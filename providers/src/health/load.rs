//! How fast a target answers, and how busy that makes it: what strategies and hedging compare. Pure; time is handed in.

use std::time::Duration;

/// A peak is forgotten with this time constant, as in Finagle's and Linkerd's peak-EWMA balancers.
const PEAK_MS: f64 = 10_000.0;
/// What one more measurement counts for.
const SHARE: f64 = 0.2;
/// A measurement that nobody renews halves in weight for every further such time: so that who was slow once is asked again.
const STALE_MS: f64 = 60_000.0;
/// So many measurements are kept to find the 95th percentile of, and fewer than the least say nothing.
const KEPT: usize = 128;
const LEAST: usize = 20;
/// Somebody is asking it, and it has never answered.
const UNKNOWN_AND_BUSY: f64 = 1e12;

/// Times to the first content, and the peak of them.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// Streams; then answers that come whole, which take longer.
    series: [Series; 2],
    peak: f64,
    peak_at: u64,
}

#[derive(Debug, Clone, Default)]
struct Series {
    mean: Option<f64>,
    at: u64,
    last: Vec<u32>,
    next: usize,
}

impl Load {
    /// Takes in how long it took to the first content.
    pub fn measured(&mut self, stream: bool, took: Duration, now: u64) {
        let micros = took.as_secs_f64() * 1e6;
        let age = now.saturating_sub(self.peak_at) as f64;
        let weight = (-age / PEAK_MS).exp();
        self.peak = if micros > self.peak { micros } else { self.peak * weight + micros * (1.0 - weight) };
        self.peak_at = now;
        self.series[usize::from(!stream)].measured(micros, took, now);
    }

    /// What one more call would meet: the latest peak, for everybody who waits already and the one that comes.
    pub fn pressure(&self, in_flight: u32, now: u64) -> f64 {
        let age = now.saturating_sub(self.peak_at) as f64;
        let peak = self.peak * (-age / PEAK_MS).exp();
        match in_flight {
            0 => peak,
            waiting if self.peak <= 0.0 => UNKNOWN_AND_BUSY * f64::from(waiting),
            waiting => peak.max(1.0) * (f64::from(waiting) + 1.0),
        }
    }

    /// About how long it takes to the first content, in microseconds; nothing where it was never asked.
    pub fn latency(&self, stream: bool, now: u64) -> Option<f64> {
        let series = &self.series[usize::from(!stream)];
        let idle = (now.saturating_sub(series.at) as f64 - STALE_MS).max(0.0);
        series.mean.map(|mean| mean * (-idle / STALE_MS).exp2())
    }

    /// Nineteen of twenty first contents came within this time.
    pub fn p95(&self, stream: bool) -> Option<Duration> {
        let series = &self.series[usize::from(!stream)];
        if series.last.len() < LEAST {
            return None;
        }
        let mut sorted = series.last.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
        sorted.get(at).map(|micros| Duration::from_micros(u64::from(*micros)))
    }
}

impl Series {
    fn measured(&mut self, micros: f64, took: Duration, now: u64) {
        self.mean = Some(self.mean.map_or(micros, |mean| mean + SHARE * (micros - mean)));
        self.at = now;
        let kept = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.last.len() < KEPT {
            self.last.push(kept);
        } else {
            self.last[self.next] = kept;
        }
        self.next = (self.next + 1) % KEPT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_slowly() {
        let mut load = Load::default();
        load.measured(true, ms(10), 0);
        assert_eq!(load.pressure(0, 0), 10_000.0);
        assert_eq!(load.pressure(3, 0), 40_000.0, "three wait, a fourth comes");
        load.measured(true, ms(500), 1);
        load.measured(true, ms(10), 2);
        assert!(load.pressure(0, 2) > 490_000.0, "one quick answer does not make up for a slow one");
        assert!(load.pressure(0, 60_000) < 2_000.0);
    }

    #[test]
    fn who_was_never_asked_is_asked_first_but_not_by_everybody_at_once() {
        let load = Load::default();
        assert_eq!(load.pressure(0, 0), 0.0);
        assert!(load.pressure(1, 0) > 1e11);
        assert_eq!(load.latency(true, 0), None);
    }

    #[test]
    fn what_nobody_has_measured_for_long_loses_its_weight() {
        let mut load = Load::default();
        load.measured(true, ms(400), 0);
        assert_eq!((load.latency(true, 60_000), load.latency(false, 0)), (Some(400_000.0), None));
        assert_eq!(load.latency(true, 180_000), Some(100_000.0));
    }

    #[test]
    fn the_95th_percentile_is_one_of_the_last_measurements() {
        let mut load = Load::default();
        for n in 1..20 {
            load.measured(true, ms(n), 0);
        }
        assert_eq!(load.p95(true), None, "nineteen say nothing");
        (20..=100).for_each(|n| load.measured(true, ms(n), 0));
        assert_eq!((load.p95(true), load.p95(false)), (Some(ms(95)), None));
        (0..KEPT).for_each(|_| load.measured(true, ms(7), 0));
        assert_eq!(load.p95(true), Some(ms(7)), "old ones are forgotten");
    }
}
