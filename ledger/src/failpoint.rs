//! Named places at which a test may end this process as a cut power line would, or lose what the database said.
//!
//! Without the feature `failpoints` each of them is nothing. With it, the environment arms them when the first is
//! reached: `FAILPOINTS="writer.saved=3*off->return(abort)"` lets three batches pass and ends the process at the
//! fourth. The suite `qa/tests/failpoints` lists them all.

use std::future::Future;

use crate::error::StoreError;

/// A place that a call passes.
#[inline]
pub fn failpoint(name: &str) {
    #[cfg(feature = "failpoints")]
    armed::told(name);
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// A place within `work`: something was sent, and no answer has come yet.
#[inline]
pub(crate) async fn once_sent<F: Future>(name: &str, work: F) -> F::Output {
    #[cfg(feature = "failpoints")]
    {
        let (mut work, mut sent) = (std::pin::pin!(work), false);
        std::future::poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if polled.is_pending() && !std::mem::replace(&mut sent, true) {
                failpoint(name);
            }
            polled
        })
        .await
    }
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        work.await
    }
}

/// A place at which the database's word may be lost on its way, though it was done.
#[inline]
pub(crate) fn or_lost<T>(name: &str, done: Result<T, StoreError>) -> Result<T, StoreError> {
    #[cfg(feature = "failpoints")]
    if done.is_ok() && armed::told(name).is_some() {
        return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into());
    }
    let _ = name;
    done
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;

    /// What a test wants done here; `abort` is done at once.
    pub fn told(name: &str) -> Option<String> {
        static ARMED: OnceLock<()> = OnceLock::new();
        // Armed for as long as the process lives: its end would disarm them.
        ARMED.get_or_init(|| std::mem::forget(fail::FailScenario::setup()));
        let told = asked(name)?;
        if told == "abort" {
            eprintln!("failpoint {name}: ending at once");
            std::process::abort();
        }
        Some(told)
    }

    fn asked(name: &str) -> Option<String> {
        fail::fail_point!(name, |told: Option<String>| Some(told.unwrap_or_default()));
        None
    }
}
