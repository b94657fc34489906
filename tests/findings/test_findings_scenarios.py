"""Each cause on a capture written for it, and beside it the near miss that it must leave alone."""

from __future__ import annotations

import pytest

from analyzer.segments import BAD_CHECKSUM, HAS_IP_ID, HAS_TIMESTAMP, OPT_FAST_OPEN, OPT_MSS, OPT_SACK_PERMITTED


def only(found, name):
    (one,) = [finding for finding in found if finding.name == name]
    return one


def test_nothing_is_found_in_an_empty_capture(capture):
    assert capture.find() == []


def test_healthy_connections_give_nothing(capture):
    for at in range(5):
        one = capture.connection().serve(at)
        one.c_fin(at + 0.1)
        one.s_ack(at + 0.11)
        one.s_fin(at + 0.12)
        one.c_ack(at + 0.13)
    assert capture.find(end=60) == []


# Accept queue


def ignore(connection, at=0.0):
    connection.open(at)
    for late in (1.02, 3.05, 7.1):
        connection.s_synack(at + late)
        connection.c_ack(at + late + 0.01)


def test_acks_ignored_on_several_connections_are_an_accept_queue_overflow(capture):
    capture.connection().serve()
    for _ in range(3):
        ignore(capture.connection())
    one = only(capture.find(end=9), "accept_queue_overflow")
    assert (one.severity, one.confidence, one.count) == ("critical", "high", 3)
    assert one.flows == [1, 2, 3]
    assert "10.0.0.2:80" in one.summary
    assert "1 other connection of this listener completed" in one.evidence


def test_a_single_ignored_ack_may_be_loss_and_is_no_more_than_a_warning(capture):
    ignore(capture.connection())
    one = only(capture.find(end=9), "accept_queue_overflow")
    assert (one.severity, one.confidence) == ("warning", "medium")


def test_deferred_accept_is_no_overflow(capture):
    one = capture.connection().open()
    one.s_synack(7.1)
    one.c_ack(7.11)
    one.c_data(9)
    one.s_ack(9.01)
    assert capture.names(end=10) == {"deferred_accept": "info"}


def test_an_ack_lost_behind_the_capture_point_is_no_overflow(capture):
    one = capture.connection().open()
    one.s_synack(1.03)
    one.c_ack(1.04)
    one.c_data(2)
    one.s_ack(2.01)
    assert capture.names(end=3) == {"ack_lost": "info"}


def try_in_vain(connection, at=0.0, retries=4):
    for number in range(retries + 1):
        connection.c_syn(at + number * 1.02)


def test_syns_dropped_while_others_are_served_are_an_accept_queue_overflow(capture):
    old = capture.connection().serve()
    old.s_data(2)
    for _ in range(3):
        try_in_vain(capture.connection(), 0.5)
    assert capture.names(end=5) == {"accept_queue_overflow": "critical"}


def test_syns_lost_while_the_server_says_nothing_at_all_may_be_an_outage(capture):
    """A path that is down from 3 to 6.5 s: the SYNs before are lost, those after it are answered."""
    for at in (0, 1, 9):
        capture.connection().serve(at)
    for number in range(4):
        one = capture.connection()
        try_in_vain(one, 3 + number / 5, retries=2)
        one.c_syn(6.6 + number / 5)
        one.s_synack(6.61 + number / 5)
        one.c_ack(6.62 + number / 5)
    found = only(capture.find(end=12), "accept_queue_overflow")
    assert (found.severity, found.confidence) == ("warning", "medium")
    assert any("host or path may have been down" in line for line in found.evidence)


def test_sources_that_are_never_served_may_be_filtered(capture):
    capture.connection(client="10.0.0.1").serve()
    try_in_vain(capture.connection(client="10.0.0.9"), 0.5)
    one = only(capture.find(end=5), "accept_queue_overflow")
    assert (one.severity, one.confidence) == ("warning", "low")


def test_a_single_slow_handshake_is_no_overflow(capture):
    one = capture.connection()
    try_in_vain(one, retries=3)
    one.s_synack(7)
    one.c_ack(7.01)
    assert capture.names(end=9) == {"syn_retried": "info"}


def test_a_bare_rst_after_the_third_ack_is_abort_on_overflow(capture):
    capture.connection().serve()
    for _ in range(2):
        one = capture.connection().open()
        one.s_rst(0.0201)
    assert capture.names(end=5) == {"abort_on_overflow": "critical"}


# Nobody answers


def test_a_host_that_answers_nobody(capture):
    capture.connection(server="10.0.0.3").serve()
    try_in_vain(capture.connection(), retries=5)
    one = only(capture.find(end=20), "no_answer")
    assert "10.0.0.2 answers nobody" in one.summary
    assert one.confidence == "high"


def test_a_silent_port_of_a_living_host_is_filtered(capture):
    capture.connection(service=22).serve(1)
    try_in_vain(capture.connection(), retries=5)
    assert "filtered" in only(capture.find(end=20), "no_answer").summary


def test_a_host_that_went_down(capture):
    capture.connection().serve()
    try_in_vain(capture.connection(), 60, retries=5)
    assert "no longer answers" in only(capture.find(end=80), "no_answer").summary


def test_an_attempt_within_its_retry_schedule_is_no_failure(capture):
    capture.connection(server="10.0.0.3").serve()
    capture.connection().c_syn(0)
    try_in_vain(capture.connection(server="10.0.0.4"), retries=1)
    assert capture.names(end=1.1) == {}


@pytest.mark.parametrize(("single", "confidence"), [(9, "low"), (0, "medium")])
def test_syns_of_which_hardly_one_came_again_may_have_been_answered(capture, single, confidence):
    """`tcp[13] == 2` keeps no answer; a client without one would repeat its SYN."""
    try_in_vain(capture.connection(), 0)
    for at in range(single):
        capture.connection().c_syn(at)
    assert only(capture.find(end=60), "no_answer").confidence == confidence


def test_one_direction_captured_is_not_no_answer(capture):
    for port in range(3):
        one = capture.connection()
        one.c_syn(port)
        one.server_next = 900_001 + one.ends[1]
        one.c_ack(port + 0.02)
        one.c_data(port + 0.03)
        one.c_fin(port + 0.5)
    capture.connection().c_syn(0)
    assert capture.names(end=90) == {"capture_at_fault": "warning"}


def test_refused(capture):
    for at in range(2):
        one = capture.connection()
        one.c_syn(at)
        one.s_refuse(at + 0.01)
    one = only(capture.find(), "refused")
    assert (one.severity, one.count, one.flows) == ("warning", 2, [0, 1])


@pytest.mark.parametrize(("ttl", "told"), [(60, True), (64, False), (255, False)])
def test_a_refusal_from_another_distance_is_a_device_in_between(capture, ttl, told):
    capture.connection(service=22).serve()
    one = capture.connection()
    one.c_syn(1)
    one.s_refuse(1.01, ttl=ttl)
    evidence = only(capture.find(), "refused").evidence
    assert any("a device in between rejects" in line for line in evidence) is told


# Half open


def test_synacks_never_acknowledged(capture):
    one = capture.connection()
    one.c_syn(0)
    for at in (0.01, 1.02, 3.05, 7.1):
        one.s_synack(at)
    assert capture.names(end=9) == {"half_open": "warning"}


def test_a_client_that_keeps_trying_does_not_get_the_synack(capture):
    one = capture.connection()
    for at in (0, 1.02, 2.05, 3.1):
        one.c_syn(at)
        one.s_synack(at + 0.01)
    found = only(capture.find(end=9), "half_open")
    assert found.confidence == "high"
    assert "the return path loses them" in found.summary


def test_a_handshake_at_the_end_of_the_capture_is_not_half_open(capture):
    one = capture.connection()
    one.c_syn(0)
    one.s_synack(0.01)
    assert capture.names(end=0.5) == {}


def test_a_filter_that_kept_syn_fin_and_rst_is_not_a_host_of_half_open_handshakes(capture):
    for at in range(4):
        one = capture.connection()
        one.c_syn(at)
        one.s_synack(at + 0.01)
        if at < 3:
            one.client_next += 500
            one.c_fin(at + 0.5)
            one.s_fin(at + 0.51)
    assert capture.names(end=60) == {"capture_at_fault": "warning"}


def close_without_acks(connection, at):
    """What a filter that keeps SYN, FIN and RST leaves of a healthy connection."""
    connection.c_syn(at)
    connection.s_synack(at + 0.01)
    connection.client_next += 500
    connection.c_fin(at + 0.5)
    connection.s_fin(at + 0.51)


def test_a_filter_that_kept_syn_fin_and_rst_is_not_a_host_that_acknowledges_no_fin(capture):
    """The last ACK is never in such a capture, however long it runs."""
    for at in range(4):
        close_without_acks(capture.connection(), at)
    assert capture.names(end=300) == {"capture_at_fault": "warning"}


def test_resets_of_a_client_whose_acks_a_filter_left_out_are_no_scan(capture):
    close_without_acks(capture.connection(), 0)
    for port in range(20):
        one = capture.connection(client="10.0.0.7", service=8000 + port)
        one.c_syn(port)
        one.s_synack(port + 0.01)
        one.client_next += 500
        one.c_rst(port + 0.5)
    assert capture.names(end=30) == {"capture_at_fault": "warning", "half_open_scan": "info"}


def test_repeated_synacks_are_half_open_whatever_a_filter_left_out(capture):
    for at in range(4):
        close_without_acks(capture.connection(), at)
    one = capture.connection(client="203.0.113.1")
    one.c_syn(1)
    for late in (1.01, 2.02, 4.05):
        one.s_synack(late)
    found = only(capture.find(end=9), "half_open")
    assert (found.count, found.confidence) == (1, "low")


def test_a_flood_is_seen_through_a_filter_by_its_repeated_synacks(capture):
    for at in range(4):
        close_without_acks(capture.connection(), at)
    for number in range(80):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100)
        for late in (0.001, 1.02, 3.05):
            one.s_synack(number / 100 + late)
    assert only(capture.find(end=9), "syn_flood").count == 80


ORDINARY = OPT_MSS | OPT_SACK_PERMITTED


@pytest.mark.parametrize(("server", "client"), [("10.0.0.2", "203.0.113.{}"), ("203.0.113.{}", "10.0.0.1")])
def test_a_filter_that_kept_only_syns_makes_no_flood_and_no_sweep(capture, server, client):
    """`tcp[13] & 2 != 0` on eighty healthy handshakes."""
    for number in range(80):
        one = capture.connection(client=client.format(number), server=server.format(number))
        one.c_syn(number / 100, options=ORDINARY)
        one.s_synack(number / 100 + 0.01)
    assert capture.names(end=60) == {"capture_at_fault": "warning"}


def test_a_queue_of_repeated_synacks_is_no_filter(capture):
    """A flood of SYNs made to look real, answered with cookies once its first five have filled the queue."""
    for number in range(80):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100, options=ORDINARY)
        for late in (0.001, 1.02, 3.05) if number < 5 else (0.001,):
            one.s_synack(number / 100 + late)
    found = only(capture.find(end=60), "syn_flood")
    assert (found.count, found.confidence) == (80, "high")


@pytest.mark.parametrize(("options", "sure"), [(ORDINARY, ("warning", "low")), (OPT_MSS, ("critical", "medium"))])
def test_syns_alone_may_be_what_a_filter_left_of_healthy_clients(capture, options, sure):
    """`tcp[13] == 2` keeps not even the SYN+ACKs."""
    for number in range(80):
        capture.connection(client=f"203.0.113.{number}").c_syn(number / 100, options=options)
    found = only(capture.find(end=60), "syn_flood")
    assert (found.severity, found.confidence) == sure


def break_off(connection, at):
    connection.c_syn(at)
    connection.s_synack(at + 0.01)
    connection.c_rst(at + 0.02)


def test_a_source_that_breaks_off_at_one_port_after_the_other_is_a_scan(capture):
    for port in range(4):
        break_off(capture.connection(service=20 + port), port)
    assert capture.names(end=9) == {"half_open_scan": "warning"}


def test_a_balancers_health_check_is_no_scan(capture):
    """SYN, SYN+ACK, RST, every two seconds, at each of four back ends."""
    for at in range(0, 30, 2):
        for host in range(4):
            break_off(capture.connection(server=f"10.0.1.{host}"), at + host / 10)
    assert capture.names(end=40) == {"half_open_scan": "info"}


def test_a_handshake_broken_off_is_only_noted(capture):
    one = capture.connection()
    one.c_syn(0)
    one.s_synack(0.01)
    one.c_rst(0.02)
    assert capture.names(end=5) == {"half_open_scan": "info"}


# Floods, bursts and scans


def test_a_flood_that_is_answered_with_cookies(capture):
    capture.connection().serve(2)
    for number in range(80):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100)
        one.s_synack(number / 100 + 0.001)
    one = only(capture.find(end=5), "syn_flood")
    assert (one.severity, one.count) == ("warning", 80)
    assert "SYN cookies" in one.summary


def test_a_flood_that_fills_the_queue(capture):
    for number in range(80):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100)
        if number < 20:
            for late in (0.001, 1.02, 3.05):
                one.s_synack(number / 100 + late)
    real = capture.connection()
    try_in_vain(real, 1, retries=3)
    real.s_synack(8)
    real.c_ack(8.01)
    found = capture.find(end=10)
    assert [one.name for one in found] == ["syn_flood"]
    assert (found[0].severity, found[0].count) == ("critical", 80)
    assert any("1 real client had to repeat the SYN" in line for line in found[0].evidence)


def test_owners_of_borrowed_addresses_that_send_a_rst_belong_to_the_flood(capture):
    for number in range(90):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100)
        one.s_synack(number / 100 + 0.001)
        if number >= 60:
            one.client_next = 1001 + one.ends[1]
            one.c_rst(number / 100 + 0.02)
    (flood,) = capture.find(end=5)
    assert (flood.name, flood.count) == ("syn_flood", 60)
    assert any(line.startswith("30 more were ended by a RST") for line in flood.evidence)


def test_a_burst_of_clients_is_no_flood(capture):
    for number in range(200):
        capture.connection(client=f"203.0.113.{number}").serve(number / 1000)
    assert capture.names(end=5) == {}


def test_a_burst_that_overflows_the_accept_queue_is_no_flood(capture):
    capture.connection(client="203.0.113.250").serve()
    for number in range(100):
        one = capture.connection(client=f"203.0.113.{number}")
        try_in_vain(one, number / 100, retries=2)
        one.s_synack(4)
        one.c_ack(4.01)
    assert set(capture.names(end=5)) == {"accept_queue_overflow"}


def test_many_ports_of_a_host_are_a_scan(capture):
    for port in range(1, 21):
        one = capture.connection(service=port)
        one.c_syn(port / 100)
        one.s_refuse(port / 100 + 0.001)
    assert "scans 20 ports of 10.0.0.2" in only(capture.find(end=5), "port_scan").summary


def test_many_hosts_on_a_port_are_a_sweep(capture):
    for number in range(1, 31):
        capture.connection(server=f"10.0.1.{number}", service=445).c_syn(number / 100)
    found = only(capture.find(end=5), "port_scan")
    assert "sweeps 30 hosts on port 445" in found.summary
    assert any("whose way out is broken looks the same" in line for line in found.evidence)


def test_a_client_that_fails_at_one_service_is_no_scanner(capture):
    for number in range(40):
        one = capture.connection()
        one.c_syn(number)
        one.s_refuse(number + 0.001)
    assert capture.names() == {"refused": "warning"}


# Closing


def leave_half_closed(connection, at=0.0):
    connection.serve(at)
    connection.c_fin(at + 0.1)
    connection.s_ack(at + 0.11)
    return connection


def test_close_wait_that_stays_is_the_servers_fault(capture):
    for at in range(5):
        leave_half_closed(capture.connection(), at)
    one = only(capture.find(end=100), "close_wait")
    assert (one.severity, one.confidence, one.count) == ("warning", "high", 5)
    assert "10.0.0.2:80 does not close its sockets" in one.summary


def test_a_half_close_over_which_data_flows_is_no_leak(capture):
    one = leave_half_closed(capture.connection())
    for second in range(1, 30):
        one.s_data(second)
        one.c_ack(second + 0.01)
    assert capture.names(end=30) == {}


def test_a_short_half_close_is_no_leak(capture):
    leave_half_closed(capture.connection())
    assert capture.names(end=3) == {}


def test_a_few_connections_that_a_client_keeps_after_the_servers_close_are_only_noted(capture):
    one = capture.connection().serve()
    one.s_fin(5)
    one.c_ack(5.01)
    assert capture.names(end=100) == {"close_wait": "info"}


def test_many_clients_that_keep_a_few_each_leak_nothing(capture):
    """What a server that closes idle connections sees of a hundred browsers and their pools."""
    for number in range(120):
        one = capture.connection(client=f"203.0.113.{number}").serve(number / 100)
        one.s_fin(5 + number / 100)
        one.c_ack(5.01 + number / 100)
    found = capture.names(end=100)
    assert found == {"close_wait": "info", "fin_wait_2_pile": "info"}
    assert any("115 other clients leave" in one.summary for one in capture.find(end=100))


def test_a_client_that_leaks_is_found_among_many_that_do_not(capture):
    for number in range(30):
        one = capture.connection(client="203.0.113.9" if number < 12 else f"203.0.113.{number}").serve(number)
        one.s_fin(number + 5)
        one.c_ack(number + 5.01)
    leak = capture.find(end=100)[0]
    assert (leak.severity, leak.count) == ("warning", 12)
    assert "203.0.113.9 (client of port 80)" in leak.summary


def test_a_fin_repeated_in_vain(capture):
    one = capture.connection().serve()
    one.c_fin(1)
    for at in (1.2, 1.6, 2.4, 4.0):
        one.c_fin(at, again=True)
    found = only(capture.find(end=5), "fin_unanswered")
    assert "10.0.0.2 does not acknowledge the FIN" in found.summary


def test_a_fin_at_the_end_of_the_capture_is_no_failure(capture):
    capture.connection().serve().c_fin(1)
    assert capture.names(end=1.5) == {}


def test_a_rst_to_the_first_data_speaks_of_no_socket(capture):
    for at in range(3):
        one = capture.connection().open(at)
        one.c_data(at + 0.5)
        one.s_rst(at + 0.51)
    assert capture.names(end=9) == {"no_socket": "warning"}


def test_one_rst_each_at_many_listeners_is_no_pattern(capture):
    for port in range(9):
        one = capture.connection(service=8000 + port).open(port)
        one.c_data(port + 0.5)
        one.s_rst(port + 0.51)
    assert capture.names(end=20) == {"no_socket": "info"}


@pytest.mark.parametrize(("count", "severity"), [(2, "info"), (6, "warning")])
def test_resets_by_the_server_matter_where_they_are_the_rule(capture, count, severity):
    for at in range(count):
        capture.connection().serve(at).s_rst(at + 0.1)
    assert capture.names(end=20) == {"resets": severity}


def test_time_wait_on_the_client_is_counted_by_ports(capture):
    for number in range(600):
        one = capture.connection().serve(number / 100)
        one.c_fin(number / 100 + 0.1)
        one.s_fin(number / 100 + 0.11)
        one.c_ack(number / 100 + 0.12)
    one = only(capture.find(end=10), "time_wait_pile")
    assert (one.severity, one.count) == ("info", 600)
    assert "10.0.0.1 holds 600 ports to 10.0.0.2:80" in one.summary
    assert capture.find(end=90) == []  # a minute later they are gone


def test_a_client_that_runs_out_of_ports_is_warned(capture):
    """15,000 of the 28,232 ports that Linux has for one address and port, all in TIME_WAIT."""
    for number in range(15_000):
        one = capture.connection()
        one.ends = (one.ends[0], 32_768 + number, one.ends[2], one.ends[3])
        at = number / 1000
        one.client_next, one.server_next = 1001 + number, 900_001 + number
        one.c_fin(at)
        one.s_fin(at + 0.001)
        one.c_ack(at + 0.002)
    found = only(capture.find(end=20), "time_wait_pile")
    assert (found.severity, found.count) == ("warning", 15_000)
    assert any("15,000 of the 28,232 local ports" in line for line in found.evidence)


# The capture itself


def test_offloaded_checksums_are_no_error(capture):
    capture.connection().serve()
    assert capture.names(end=1, bad_checksums=4, partial_checksums=4) == {"checksum_offload": "info"}


def damage(connection, at, client_bad):
    connection.open(at)
    for number in range(40):
        mark = HAS_IP_ID | HAS_TIMESTAMP | (BAD_CHECKSUM if number < client_bad else 0)
        connection.c_data(at + 0.03 + number / 100, mark=mark)
        if number < client_bad < 40:
            connection.c_data(at + 0.034 + number / 100, again=True)
        connection.s_ack(at + 0.035 + number / 100)


def test_wrong_checksums_in_all_a_host_sends_are_offload(capture):
    damage(capture.connection(), 0, 40)
    assert capture.names(end=1, bad_checksums=40) == {"checksum_offload": "info"}


def test_one_wrong_checksum_among_many_right_ones_is_damage(capture):
    damage(capture.connection(), 0, 1)
    assert capture.names(end=1, bad_checksums=1) == {"damaged_segments": "info"}


def test_a_wrong_checksum_that_the_receiver_took_is_no_damage(capture):
    one = capture.connection().serve()
    for number in range(10):
        mark = HAS_IP_ID | HAS_TIMESTAMP | (BAD_CHECKSUM if number == 3 else 0)
        one.c_data(1 + number, mark=mark)
        one.s_ack(1.01 + number)
    found = capture.find(end=11, bad_checksums=1)
    assert [one.name for one in found] == ["checksum_offload"]
    assert "edited capture" in found[0].summary


def test_a_path_that_damages_many_is_a_warning(capture):
    damage(capture.connection(), 0, 5)
    assert capture.names(end=1, bad_checksums=5) == {"damaged_segments": "warning"}


def test_dropped_packets_make_other_findings_less_sure(capture):
    capture.connection(server="10.0.0.3").serve()
    try_in_vain(capture.connection(), retries=5)
    sure = only(capture.find(end=20), "no_answer")
    doubted = only(capture.find(end=20, dropped_by_kernel=7), "no_answer")
    assert (sure.confidence, doubted.confidence) == ("high", "medium")
    assert any("7 packets dropped while capturing" in line for line in doubted.evidence)
    assert capture.names(end=20, dropped_by_kernel=7)["capture_at_fault"] == "warning"


def test_a_truncated_file_is_noted(capture):
    capture.connection().serve()
    assert capture.names(end=1, truncated=("it ends inside packet 9",)) == {"capture_at_fault": "info"}


def test_connections_let_go_at_the_bound_are_no_flood(capture):
    """Two hundred healthy clients at once, through a tracker that holds ten."""
    for number in range(200):
        capture.connection(client=f"203.0.113.{number}").serve(number / 10_000)
    assert capture.names(end=60, max_flows=10) == {"capture_at_fault": "warning"}


def test_a_flood_beyond_the_bound_is_still_one_and_less_sure(capture):
    for number in range(200):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100)
        one.s_synack(number / 100 + 0.001)
    kept, let_go = capture.find(end=9), capture.find(end=9, max_flows=20)
    assert only(kept, "syn_flood").confidence == "high"
    assert only(let_go, "syn_flood").confidence == "medium"
    assert only(let_go, "syn_flood").count == 200


# Stuck connections


def call_in_vain(connection, at, size=100, times=5):
    wait = 0.2
    connection.c_data(at, size)
    for _ in range(times):
        at += wait
        wait *= 2
        connection.c_data(at, size, again=True)


def test_data_without_any_answer_are_a_dead_peer(capture):
    call_in_vain(capture.connection().serve(), 5)
    one = only(capture.find(end=20), "dead_peer")
    assert (one.severity, one.confidence) == ("warning", "high")
    assert "10.0.0.2 fell silent" in one.summary


def test_keep_alives_without_any_answer_are_a_dead_peer(capture):
    one = capture.connection().serve()
    for at in range(100, 700, 75):
        one.c_probe(at)
    capture.connection().serve(500)
    found = only(capture.find(end=700), "dead_peer")
    assert any("opened a new connection instead" in line for line in found.evidence)
    assert capture.names(end=700) == {"dead_peer": "warning"}


def test_answered_keep_alives_are_no_dead_peer(capture):
    one = capture.connection().serve()
    for at in range(100, 700, 75):
        one.c_probe(at)
        one.s_ack(at + 0.01)
    assert capture.names(end=700) == {}


def test_a_burst_of_loss_is_no_dead_peer(capture):
    one = capture.connection().serve()
    call_in_vain(one, 5, times=4)
    one.s_ack(8.5)
    one.s_data(8.6)
    one.c_ack(8.7)
    assert capture.names(end=20) == {}


def answer_in_vain(connection, at, size, times=5):
    """The server sends `size` bytes that never arrive; the client is alive and sends small things."""
    wait = 0.2
    connection.s_data(at, size)
    connection.server_next -= size
    for number in range(times):
        at += wait
        wait *= 2
        connection.server_next += size
        connection.s_data(at, size, again=True)
        connection.server_next -= size
        if number == times - 2:
            connection.c_data(at + 0.1, 10)
            connection.s_ack(at + 0.11)


def test_large_segments_lost_while_small_ones_pass_are_a_path_mtu_black_hole(capture):
    for at in (0, 1):
        answer_in_vain(capture.connection().serve(at), at + 0.5, 1460)
    one = only(capture.find(end=20), "path_mtu")
    assert (one.severity, one.confidence, one.count) == ("warning", "high", 2)
    assert "from 10.0.0.2 to 10.0.0.1" in one.summary
    assert capture.names(end=20) == {"path_mtu": "warning"}


def test_a_size_that_passed_before_is_no_path_mtu_black_hole(capture):
    one = capture.connection().serve()
    for number in range(3):
        one.s_data(0.1 + number / 10, 1460)
        one.c_ack(0.15 + number / 10)
    answer_in_vain(one, 1, 1460)
    assert "path_mtu" not in capture.names(end=20)


def test_small_segments_lost_are_no_path_mtu_black_hole(capture):
    answer_in_vain(capture.connection().serve(), 0.5, 400)
    assert "path_mtu" not in capture.names(end=20)


# Options in the SYN


def open_fast(connection, at, lost):
    connection.c_syn(at, options=OPT_MSS | OPT_FAST_OPEN, payload=0)
    if lost:
        connection.c_syn(at + 1.02, options=OPT_MSS)
        at += 1.02
    connection.s_synack(at + 0.01)
    connection.c_ack(at + 0.02)
    connection.c_data(at + 0.03)
    connection.s_ack(at + 0.04)


def test_syns_answered_only_without_fast_open_are_a_black_hole(capture):
    for at in range(0, 8, 2):
        open_fast(capture.connection(), at, lost=True)
    one = only(capture.find(end=20), "fast_open")
    assert (one.severity, one.confidence, one.count) == ("warning", "high", 4)
    assert capture.names(end=20) == {"fast_open": "warning"}


def test_a_path_that_lets_cookie_requests_through_may_still_swallow_data(capture):
    open_fast(capture.connection(), 0, lost=False)
    for at in range(2, 6, 2):
        one = capture.connection()
        one.c_syn(at, options=OPT_MSS | OPT_FAST_OPEN, payload=80)
        one.c_syn(at + 1.02, options=OPT_MSS)
        one.s_synack(at + 1.03)
        one.c_ack(at + 1.04)
    assert capture.names(end=20)["fast_open"] == "warning"


def test_a_lost_syn_with_fast_open_is_loss_where_others_pass(capture):
    for at in range(0, 8, 2):
        open_fast(capture.connection(), at, lost=at < 4)
    assert capture.names(end=20) == {"syn_retried": "info"}


def stamp(connection, at, tsval, dropped):
    connection.c_syn(at, tsval=tsval)
    if dropped:
        for retry in (1, 3, 7):
            connection.c_syn(at + retry, tsval=tsval + 1000 * retry)
        return
    connection.s_synack(at + 0.01)
    connection.c_ack(at + 0.02)
    connection.c_data(at + 0.03)
    connection.s_ack(at + 0.04)


def test_syns_dropped_by_their_time_stamp_are_clients_behind_nat(capture):
    """Two clients behind 10.0.0.1, whose clocks differ by an hour: only the one behind is dropped."""
    for number in range(5):
        at = number * 2
        stamp(capture.connection(), at, 5_000_000 + 1000 * at, dropped=False)
        stamp(capture.connection(), at + 1, 1_400_000 + 1000 * at, dropped=True)
    one = only(capture.find(end=40), "time_stamps")
    assert (one.severity, one.confidence, one.count) == ("critical", "high", 5)
    assert capture.names(end=40) == {"time_stamps": "critical"}


def test_stamps_that_go_back_and_are_served_are_nothing(capture):
    """Linux since 4.10 begins every connection's clock elsewhere."""
    for number in range(10):
        stamp(capture.connection(), number, (number * 2654435761) % 2**32, dropped=False)
    assert capture.names(end=40) == {}


def test_losses_that_follow_no_clock_are_no_time_stamp_check(capture):
    for number in range(12):
        stamp(capture.connection(), number, 5_000_000 + 1000 * number, dropped=number % 3 == 2)
    assert "time_stamps" not in capture.names(end=40)


# Resets and queues


def test_a_rst_from_another_distance_is_a_middlebox(capture):
    for at in range(2):
        capture.connection().serve(at).s_rst(at + 0.1, with_ack=True, ttl=58)
    one = only(capture.find(end=9), "middlebox_reset")
    assert (one.severity, one.confidence, one.count) == ("warning", "high", 2)
    assert "in the name of 10.0.0.2" in one.summary
    assert capture.names(end=9) == {"middlebox_reset": "warning"}


@pytest.mark.parametrize("ttl", [64, 255, 63])
def test_a_rst_from_the_senders_own_distance_is_its_own(capture, ttl):
    """Some systems begin a RST with another time to live; one hop may be a change of route."""
    capture.connection().serve().s_rst(0.1, with_ack=True, ttl=ttl)
    assert capture.names(end=9) == {"resets": "info"}


def test_copies_from_both_sides_of_a_router_are_no_middlebox(capture):
    """`-i any` on a router: every packet twice, one hop apart."""
    for at in range(2):
        capture.connection().serve(at).s_rst(at + 0.1, with_ack=True)
    capture.segments = [
        (at + hop / 100_000, *rest, {"ip_id": number + 1, "ttl": 64 - hop})
        for number, (at, *rest, _) in enumerate(capture.segments)
        for hop in range(2)
    ]
    assert capture.names(end=9) == {"duplicates_in_capture": "info", "resets": "info"}


def test_several_rsts_from_one_hop_nearer_are_a_middlebox(capture):
    for at in range(2):
        capture.connection().serve(at).s_rst(at + 0.1, with_ack=True, ttl=63)
    assert capture.names(end=9) == {"middlebox_reset": "warning"}


def test_an_end_that_goes_on_after_its_rst_did_not_send_it(capture):
    one = capture.connection().serve()
    one.s_rst(0.1, with_ack=True)
    for at in range(1, 5):
        one.s_data(at)
        one.c_ack(at + 0.01)
    assert capture.names(end=9) == {"middlebox_reset": "warning"}


def test_a_rst_with_ack_to_the_first_data_comes_from_a_socket(capture):
    """close() with data unread sends RST+ACK; where there is no socket, the RST carries none (RFC 9293 3.10.7.1)."""
    for at in range(3):
        one = capture.connection().open(at)
        one.c_data(at + 0.5)
        one.s_rst(at + 0.51, with_ack=True)
    assert capture.names(end=9) == {"resets": "info"}


def fill_syn_queue(capture, entries):
    for number in range(entries):
        one = capture.connection(client=f"203.0.113.{number}")
        one.c_syn(number / 100)
        for late in (0.001, 1.02, 3.05, 7.1):
            one.s_synack(number / 100 + late)


def test_syns_dropped_while_the_syn_queue_is_full(capture):
    fill_syn_queue(capture, 12)
    for _ in range(2):
        one = capture.connection()
        try_in_vain(one, 1, retries=4)
        one.s_synack(9.2)
        one.c_ack(9.21)
    found = capture.find(end=10)
    assert found[0].name == "syn_queue_overflow"
    assert (found[0].severity, found[0].confidence) == ("critical", "high")
    assert {one.name for one in found} == {"syn_queue_overflow"}


def test_a_few_half_open_handshakes_fill_no_queue(capture):
    fill_syn_queue(capture, 3)
    one = capture.connection()
    try_in_vain(one, 1, retries=4)
    assert "syn_queue_overflow" not in capture.names(end=10)


# Slow and repeated handshakes


def take_long(connection, at, to_server, to_client):
    connection.c_syn(at)
    connection.s_synack(at + to_server)
    connection.c_ack(at + to_server + to_client)


@pytest.mark.parametrize(
    ("to_server", "to_client", "half", "severity"),
    [(0.9, 0.2, "the server", "warning"), (0.01, 0.4, "the clients", "info")],
)
def test_slow_handshakes_name_the_slow_half(capture, to_server, to_client, half, severity):
    for at in range(6):
        take_long(capture.connection(), at, to_server, to_client)
    one = only(capture.find(end=9), "slow_handshake")
    assert one.severity == severity
    assert f"between the capture point and {half}" in one.summary


def test_one_slow_client_is_no_slow_service(capture):
    for at in range(20):
        take_long(capture.connection(), at, 0.01, 0.9 if at < 6 else 0.01)
    assert capture.names(end=30) == {}


def test_many_repeated_syns_of_a_listener_are_a_warning(capture):
    for at in range(6):
        one = capture.connection()
        one.c_syn(at)
        one.c_syn(at + 1.02)
        one.s_synack(at + 1.03)
        one.c_ack(at + 1.04)
    assert capture.names(end=20) == {"syn_retried": "warning"}


# One connection seen twice


def twice(capture, client, target, at):
    """The same SYN, ISN and stamps before and behind a NAT."""
    for server, late in (("198.51.100.1", 0.0), ("10.0.0.2", 0.0002)):
        one = capture.connection(client=client, server=server)
        one.ends = (one.ends[0], target, one.ends[2], 80)
        for retry in (0, 1, 3, 7):
            one.c_syn(at + retry + late, tsval=target * 7 + retry)


def test_a_connection_on_both_sides_of_a_nat_fails_once(capture):
    capture.connection(server="10.0.0.9").serve()
    for number in range(3):
        twice(capture, "10.0.0.1", 50_000 + number, number)
    found = capture.find(end=30)
    assert only(found, "seen_twice").count == 3
    assert sum(one.count for one in found if one.severity != "info") == 3


def test_a_flood_that_numbers_all_its_syns_alike_is_not_one_connection(capture):
    for number in range(60):
        one = capture.connection(client=f"203.0.113.{number}")
        one.ends = (one.ends[0], 1234, one.ends[2], 80)
        one.c_syn(number / 100, tsval=0, mark=HAS_IP_ID)
    assert set(capture.names(end=5)) == {"syn_flood"}


def test_a_pile_in_fin_wait_2_is_named_on_the_side_that_closed(capture):
    for number in range(120):
        leave_half_closed(capture.connection(), number / 100)
    assert capture.names(end=100) == {"close_wait": "critical", "fin_wait_2_pile": "info"}
