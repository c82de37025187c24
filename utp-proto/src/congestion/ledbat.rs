//! LEDBAT (skeleton)
use super::*;
/// LEDBAT
#[derive(Debug, Clone, Copy, Default)]
pub struct LedbatConfig {}
/// LEDBAT
#[derive(Debug)]
pub struct Ledbat {}
impl ControllerFactory for LedbatConfig {
    fn build(&self, _now: Instant, _mss: usize) -> Box<dyn Controller> {
        Box::new(FixedWindow { bytes: 100_000 })
    }
}
