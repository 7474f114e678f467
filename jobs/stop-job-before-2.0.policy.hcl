# What AT_DEADLINE=stop-job needs, on Nomad before 2.0: to stop a job is no right of its own there.
#
#     nomad acl policy apply -namespace default -job NAME NAME-ends-itself \
#       jobs/stop-job-before-2.0.policy.hcl
namespace "default" {
  capabilities = ["submit-job"]
}
