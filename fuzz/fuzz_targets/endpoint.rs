//! See `utp_tests::fuzz::endpoint`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| utp_tests::fuzz::endpoint(data));
