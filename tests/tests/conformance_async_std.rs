//! The conformance suite on async-std: by itself, and with tokio at the other end.

use std::future::Future;

use utp_tests::conformance::async_std::AsyncStd;
use utp_tests::conformance::tokio::Tokio;
use utp_tests::conformance::{LIMIT, within};
use utp_tests::for_each_case;

macro_rules! tests {
    ((pair: $pair:ident, run: $run:ident, server: $server:ty, client: $client:ty) [$($module:ident::$case:ident)*]) => {
        mod $pair {
            use super::*;

            $(
                #[test]
                fn $case() {
                    within(LIMIT, || $run(utp_tests::conformance::$module::$case::<$server, $client>()));
                }
            )*
        }
    };
}

for_each_case! { tests (pair: async_std, run: alone, server: AsyncStd, client: AsyncStd) }
for_each_case! { tests (pair: async_std_and_tokio, run: in_tokio, server: AsyncStd, client: Tokio) }
for_each_case! { tests (pair: tokio_and_async_std, run: in_tokio, server: Tokio, client: AsyncStd) }

fn alone(case: impl Future<Output = ()> + Send + 'static) {
    ::async_std::task::block_on(case);
}

/// async-std's part of a case runs anywhere, tokio's only in tokio.
fn in_tokio(case: impl Future<Output = ()> + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(case).await.unwrap() });
}
