//! With utp-rs of the Portal network: every byte arrives and every end is seen, whoever dials.

use utp_tests::interop::endings::Ending;
use utp_tests::interop::peer::Kind::Ethereum;
use utp_tests::interop::suite::{endings_are_seen, transfers_succeed};

#[test]
fn a_clean_and_a_disorderly_path_carry_every_byte() {
    transfers_succeed(Ethereum, |case| case.faults.loss == 0.0 && case.faults.drop_exactly.is_empty());
}

#[test]
fn two_percent_loss_costs_no_byte() {
    transfers_succeed(Ethereum, |case| case.faults.loss == 0.02);
}

#[test]
fn ten_percent_loss_costs_no_byte() {
    transfers_succeed(Ethereum, |case| case.faults.loss == 0.1);
}

#[test]
fn a_lost_syn_or_syn_ack_is_made_up_for() {
    transfers_succeed(Ethereum, |case| !case.faults.drop_exactly.is_empty());
}

#[test]
fn a_peer_killed_in_mid_transfer_is_noticed() {
    endings_are_seen(Ethereum, &[Ending::ReceiverKilled, Ending::SenderKilled, Ending::Restarted]);
}

#[test]
fn leaving_in_mid_transfer_is_noticed_on_either_side() {
    endings_are_seen(Ethereum, &[Ending::TheyDrop, Ending::WeDrop, Ending::WeAbort]);
}

#[test]
fn a_peer_that_is_gone_after_its_own_fin_does_not_keep_ours_waiting() {
    endings_are_seen(Ethereum, &[Ending::TheyForget]);
}

#[test]
fn an_acceptor_may_speak_first_and_may_refuse() {
    endings_are_seen(Ethereum, &[Ending::WeSpeakFirst, Ending::TheySpeakFirst, Ending::WeRefuse]);
}
