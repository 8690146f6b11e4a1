//! A collection whose sweep is a closure, for tests of the code that sweeps.

use std::sync::Arc;

use leakproof::{Sweep, Swept, Usage};

pub struct FnSweep<F>(F);

impl<F: Fn() -> Swept + Send + Sync + 'static> Sweep for FnSweep<F> {
    fn sweep_some(&self, _: usize) -> Swept {
        (self.0)()
    }

    fn usage(&self) -> Usage {
        Usage::default()
    }
}

pub fn fn_sweep<F: Fn() -> Swept + Send + Sync + 'static>(sweep: F) -> Arc<FnSweep<F>> {
    Arc::new(FnSweep(sweep))
}

pub fn swept(freed: usize, more: bool) -> Swept {
    Swept { freed, more }
}
