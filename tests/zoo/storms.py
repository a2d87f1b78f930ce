"""Our own storms (tests/programs/calm_*.cc): programs that check their data all the time, with a safepoint every 10 ms."""
CASES = ["realloc_storm", "hand_off", "list_storm", "thread_storm", "library_storm", "fork_storm", "signals", "exceptions",
         "cancel", "through_ring", "through_queue", "through_pipe", "through_socket", "through_results",
         "through_arguments", "shared_vectors", "signals_in_hooks", "forks_with_data", "library_threads", "thread_ends"]


def storm(case):
    def run(visit):
        visit.same(visit.build / "tests/programs/calm", case, visit.seconds * 1000, name=case, most=visit.seconds + 300)

    return run
