//! With libutp, the C++ reference: every byte arrives and every end is seen, whoever dials.

use utp_tests::interop::case::Flow;
use utp_tests::interop::endings::Ending;
use utp_tests::interop::peer::Kind::Libutp;
use utp_tests::interop::suite::{endings_are_seen, transfers_succeed};

fn half_closes(flow: Flow) -> bool {
    matches!(flow, Flow::DialerHalfCloses | Flow::AcceptorHalfCloses)
}

#[test]
fn a_clean_and_a_disorderly_path_carry_every_byte() {
    transfers_succeed(Libutp, |case| {
        case.faults.loss == 0.0 && case.faults.drop_exactly.is_empty() && !half_closes(case.flow)
    });
}

#[test]
fn two_percent_loss_costs_no_byte() {
    transfers_succeed(Libutp, |case| case.faults.loss == 0.02 && !half_closes(case.flow));
}

#[test]
fn ten_percent_loss_costs_no_byte() {
    transfers_succeed(Libutp, |case| case.faults.loss == 0.1 && !half_closes(case.flow));
}

#[test]
fn after_a_half_close_the_other_direction_goes_on() {
    transfers_succeed(Libutp, |case| half_closes(case.flow));
}

#[test]
fn a_lost_syn_or_syn_ack_is_made_up_for() {
    transfers_succeed(Libutp, |case| !case.faults.drop_exactly.is_empty());
}

#[test]
fn a_peer_killed_in_mid_transfer_is_noticed() {
    endings_are_seen(Libutp, &[Ending::ReceiverKilled, Ending::SenderKilled, Ending::Restarted]);
}

#[test]
fn leaving_in_mid_transfer_is_noticed_on_either_side() {
    endings_are_seen(Libutp, &[Ending::TheyDrop, Ending::WeDrop, Ending::WeAbort]);
}

#[test]
fn an_acceptor_may_speak_first_and_may_refuse() {
    endings_are_seen(Libutp, &[Ending::WeSpeakFirst, Ending::WeRefuse]);
}
