//! The conformance suite on tokio: on several threads, on one, and on one whose time stands still and
//! jumps.

use utp_tests::conformance::{LIMIT, within};
use utp_tests::for_each_case;

macro_rules! tests {
    ((flavour: $flavour:ident, server: $server:ty, client: $client:ty) [$($module:ident::$case:ident)*]) => {
        mod $flavour {
            use super::*;

            $(
                #[test]
                fn $case() {
                    within(LIMIT, || {
                        let runtime = $crate::$flavour();
                        let case = utp_tests::conformance::$module::$case::<$server, $client>();
                        runtime.block_on(async { tokio::spawn(case).await.unwrap() });
                    });
                }
            )*
        }
    };
}

use utp_tests::conformance::tokio::Tokio;

for_each_case! { tests (flavour: threads, server: Tokio, client: Tokio) }
for_each_case! { tests (flavour: one_thread, server: Tokio, client: Tokio) }
for_each_case! { tests (flavour: paused_time, server: Tokio, client: Tokio) }

fn threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn paused_time() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}
