//! The conformance suite on mio: by itself, and with tokio and async-std at the other end.

use utp_tests::conformance::async_std::AsyncStd;
use utp_tests::conformance::mio::Mio;
use utp_tests::conformance::tokio::Tokio;
use utp_tests::conformance::{LIMIT, within};
use utp_tests::for_each_case;

macro_rules! tests {
    ((pair: $pair:ident, server: $server:ty, client: $client:ty) [$($module:ident::$case:ident)*]) => {
        mod $pair {
            use super::*;

            $(
                #[test]
                fn $case() {
                    within(LIMIT, || {
                        let case = utp_tests::conformance::$module::$case::<$server, $client>();
                        $crate::runtime().block_on(async { tokio::spawn(case).await.unwrap() });
                    });
                }
            )*
        }
    };
}

for_each_case! { tests (pair: mio, server: Mio, client: Mio) }
for_each_case! { tests (pair: mio_and_tokio, server: Mio, client: Tokio) }
for_each_case! { tests (pair: tokio_and_mio, server: Tokio, client: Mio) }
for_each_case! { tests (pair: mio_and_async_std, server: Mio, client: AsyncStd) }
for_each_case! { tests (pair: async_std_and_mio, server: AsyncStd, client: Mio) }

/// Where the tasks of the cases run, and tokio's sockets. mio's bring their own event loops.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
