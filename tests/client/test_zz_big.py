from hypothesis import settings, HealthCheck
from tests.client.test_stateful import Machine
T = Machine.TestCase
T.settings = settings(max_examples=3000, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))
