"""The laboratory's captures get what FIELD section 8 calls the right answer: 8.1 synthetic, 8.2 a real Linux kernel."""

from __future__ import annotations

from typing import Any

import pytest
from truth import analysis

Expected = dict[str, Any]


def flow(handshake: str, close: str, states: str, **more: Any) -> Expected:
    """One flow's expected columns; `states` of originator and responder, `*` for what FIELD leaves open."""
    words = dict(zip(("originator_state", "responder_state"), states.split(), strict=True))
    return {"handshake": handshake, "close": close, **{k: v for k, v in words.items() if v != "*"}, **more}


ESTABLISHED = "ESTABLISHED ESTABLISHED"
GONE = "CLOSED CLOSED"

SYNTHETIC: dict[str, list[Expected]] = {
    "a_syn_retrans_noreply": [
        flow("unanswered", "none", "SYN_SENT *", syn_count=7, syn_retransmissions=6, directions_seen="originator")
    ],
    "b_synack_retrans_no_ack": [
        flow("half_open", "none", "* SYN_RECEIVED", synack_retransmissions=5, synack_cause="unanswered")
    ],
    "c_acceptq_overflow": [
        flow("ack_ignored", "none", "ESTABLISHED SYN_RECEIVED", synack_cause="after_ack", completeness=7)
    ],
    "c2_acceptq_overflow_data": [
        flow("complete", "open", ESTABLISHED, synack_cause="after_ack", handshake_confirmed=True)
    ],
    "d_third_ack_data": [
        flow("complete", "last_ack_missing", "FIN_WAIT_2 LAST_ACK", closed_by="originator", completeness=31)
    ],
    "e_half_closed_client_fin": [
        flow("complete", "half_closed", "FIN_WAIT_2 CLOSE_WAIT", closed_by="originator", completeness=31)
    ],
    "f_half_closed_server_fin_data": [
        flow("complete", "half_closed", "CLOSE_WAIT FIN_WAIT_2", closed_by="responder", half_closed_bytes=10)
    ],
    "g_normal": [flow("complete", "graceful", "TIME_WAIT CLOSED", closed_by="originator")],
    "h_refused": [flow("refused", "none", GONE, conn_state="REJ", completeness=37, responder_rtt_ns=None)],
    "i_challenge_ack": [
        flow("complete", "open", ESTABLISHED, challenge_ack=True, syn_count=2, completeness=39, responder_rtt_ns=None)
    ],
    "j_simul_open": [
        flow("complete", "open", ESTABLISHED, simultaneous_open=True, synack_retransmissions=0, syn_retransmissions=0)
    ],
    "k_tw_reuse": [flow("complete", "graceful", "* *"), flow("complete", "open", ESTABLISHED, reused=True)],
    "k2_reuse_same_isn": [flow("complete", "graceful", "* *"), flow("complete", "open", ESTABLISHED, reused=True)],
    "l_midstream": [flow("midstream", "open", "* *", midstream=True, completeness=12, censored="both")],
    "m_tfo": [flow("complete", "open", ESTABLISHED, syn_data=True)],
    "n_reordered_synack_first": [
        flow("complete", "open", ESTABLISHED, originator="10.0.0.1", direction_basis="syn", completeness=6)
    ],
    "o_syn_two_isn": [flow("unanswered", "none", "CLOSED *"), flow("complete", "open", ESTABLISHED)],
    "p_synack_diff_isn": [flow("complete", "open", ESTABLISHED, synack_cause="conflicting", missing_segments=0)],
    "q_scan_rst_after_synack": [flow("aborted", "none", "CLOSED LISTEN", reset_by="originator")],
    "r_oneside_client_only": [flow("complete", "*", "* *", directions_seen="originator", completeness=29)],
    "s_oneside_server_only": [flow("complete", "*", "* *", directions_seen="responder", direction_basis="synack")],
    "t_fin_in_synrecv_and_early_data": [flow("complete", "graceful", "TIME_WAIT CLOSED", closed_by="originator")],
    "u_fin_retrans_lost_last_ack": [
        flow("complete", "last_ack_missing", "* LAST_ACK", closed_by="originator", responder_fins=3)
    ],
    "v_dup_packets": [
        flow("complete", "open", ESTABLISHED, syn_retransmissions=0, synack_retransmissions=0, synack_cause="")
    ],
    "w_client_rst_half": [flow("complete", "reset", GONE, closed_by="responder", reset_by="originator")],
    "x_rst_after_fin": [flow("complete", "reset", GONE, closed_by="originator", reset_by="originator")],
    "y_synonly_then_late_synack": [
        flow("complete", "open", ESTABLISHED, syn_retransmissions=3, synack_count=1, responder_rtt_ns=None)
    ],
    "z_oow_rst": [flow("complete", "open", ESTABLISHED, rejected_rsts=1, reset_by="", completeness=47)],
}

_ACCEPTED = flow("complete", "open", ESTABLISHED)
_DROPPED = flow("unanswered", "none", "SYN_SENT *")
_IGNORED = flow("ack_ignored", "none", "ESTABLISHED SYN_RECEIVED", synack_cause="after_ack", handshake_confirmed=False)
_ABORTED = flow("complete", "reset", GONE, reset_by="responder", completeness=39)
_QUEUED = flow("half_open", "none", "* SYN_RECEIVED", synack_cause="unanswered")
_COOKIE = flow("half_open", "none", "* LISTEN", responder_basis="timer", synack_count=1)

KERNEL: dict[str, list[Expected]] = {
    "A_acceptq_full": [_ACCEPTED, _DROPPED, _DROPPED, _DROPPED],
    "A2_acceptq_full_abort": [_ACCEPTED, _DROPPED, _DROPPED, _DROPPED],
    "A3_acceptq_race": [
        flow("complete", "half_closed", "CLOSE_WAIT FIN_WAIT_2", closed_by="responder"),
        flow("complete", "half_closed", "CLOSE_WAIT FIN_WAIT_2", closed_by="responder"),
        *[flow("complete", "open", "ESTABLISHED *", handshake_confirmed=False)] * 4,
    ],
    "A4_acceptq_race_abort": [
        *[flow("midstream", "reset", GONE, reset_by="responder", midstream=True)] * 2,
        _ACCEPTED,
        _ACCEPTED,
        _DROPPED,
        _DROPPED,
    ],
    "A6_acceptq_race": [_ACCEPTED, _ACCEPTED, _ACCEPTED, _ACCEPTED, _IGNORED, _IGNORED],
    "A7_acceptq_race_abort": [_ACCEPTED, _ACCEPTED, _ACCEPTED, _ACCEPTED, _ABORTED, _ABORTED],
    "A8_acceptq_race_data": [
        _ACCEPTED,
        _ACCEPTED,
        _ACCEPTED,
        flow("complete", "open", ESTABLISHED, handshake_confirmed=True),
        _IGNORED,
        _IGNORED,
    ],
    "B_third_ack_lost_after_tap": [
        flow("complete", "open", ESTABLISHED, synack_cause="after_ack", synack_count=3, handshake_confirmed=True)
    ],
    "C_close_wait_client": [
        flow("complete", "reset", GONE, closed_by="responder", reset_by="responder", half_closed_bytes=4)
    ],
    "C2_close_wait_server_shutdown": [
        flow("complete", "graceful", "TIME_WAIT CLOSED", closed_by="originator", half_closed_bytes=10)
    ],
    "D_defer_accept": [
        flow("complete", "open", ESTABLISHED, synack_cause="deferred", synack_count=2, handshake_confirmed=True)
    ],
    "E_challenge_ack_half_open": [
        flow("complete", "reset", GONE, reset_by="originator", originator_rsts=2),
        flow("complete", "open", ESTABLISHED, syn_count=2, syn_retransmissions=1, synack_count=1, originator_rsts=0),
    ],
    "F_syncookies": [*[_QUEUED] * 5, *[_COOKIE] * 5],
    "G_syn_dropped": [flow("unanswered", "none", "SYN_SENT *", syn_count=8, syn_retransmissions=7)],
    "H_halfopen_synack_retrans": [flow("half_open", "none", "* SYN_RECEIVED", synack_count=5)],
    "K_sim_close": [flow("complete", "graceful", "TIME_WAIT CLOSED", closed_by="originator")],
    "L_last_ack_lost": [flow("complete", "*", "TIME_WAIT LAST_ACK", closed_by="originator")],
    "O_tfo": [
        flow("complete", "reset", GONE, originator_fast_open=True, syn_data=False),
        flow("complete", "open", ESTABLISHED, syn_data=True, originator_bytes=8, handshake_confirmed=False),
    ],
    "P_server_close_wait_leak": [
        flow("complete", "reset", GONE, closed_by="originator", reset_by="originator", completeness=55)
    ],
    "Q_rst_unread_data": [flow("complete", "reset", GONE, reset_by="responder", completeness=47)],
    "R_dup_syn_elicits_synack": [
        flow("half_open", "none", "* SYN_RECEIVED", syn_count=3, synack_count=4, synack_retransmissions=3)
    ],
    "S_simul_open": [flow("complete", "open", ESTABLISHED, simultaneous_open=True, synack_count=1, synack_cause="")],
    "T_time_wait_reuse": [
        flow("complete", "graceful", GONE, closed_by="responder"),
        flow("complete", "open", ESTABLISHED, reused=True),
    ],
}
CASES = [(folder, name) for folder, cases in (("synthetic", SYNTHETIC), ("kernel", KERNEL)) for name in cases]
EXPECTED = {"synthetic": SYNTHETIC, "kernel": KERNEL}

needs_captures = pytest.mark.skipif(not analysis.CAPTURES.is_dir(), reason="the shared captures are not here")


@needs_captures
@pytest.mark.parametrize(("folder", "name"), CASES, ids=[f"{folder}-{name}" for folder, name in CASES])
def test_right_answer(folder: str, name: str) -> None:
    got = analysis.records(analysis.CAPTURES / folder / f"{name}.pcap")
    expected = EXPECTED[folder][name]
    wrong = [
        f"flow {number}: {column}: {value} expected, got {ours[column]}"
        for number, (wanted, ours) in enumerate(zip(expected, got, strict=True))
        for column, value in wanted.items()
        if value != "*" and ours[column] != value
    ]
    assert not wrong, "\n".join(wrong)


@needs_captures
def test_every_capture_of_the_laboratory_has_an_answer() -> None:
    there = {
        (folder, path.stem)
        for folder in EXPECTED
        for path in (analysis.CAPTURES / folder).iterdir()
        if path.suffix == ".pcap"
    }
    assert there == set(CASES)


@needs_captures
def test_syns_that_draw_answers_are_no_copies() -> None:
    """FIELD 8.2 R: each SYN was answered at once, so each was sent."""
    (got,) = analysis.records(analysis.CAPTURES / "kernel" / "R_dup_syn_elicits_synack.pcap")
    assert (got["syn_retransmissions"], got["capture_duplicates"]) == (2, 0)


@needs_captures
def test_a_close_in_last_ack_is_not_graceful() -> None:
    """FIELD 8.2 L: the last ACK is captured six times, and does not arrive."""
    (got,) = analysis.records(analysis.CAPTURES / "kernel" / "L_last_ack_lost.pcap")
    assert got["close"] == "last_ack_missing"
