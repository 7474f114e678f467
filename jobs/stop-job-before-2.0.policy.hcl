# Policy for AT_DEADLINE=stop-job on Nomad before 2.0, which has no separate permission to stop a job.
#
#     nomad acl policy apply -namespace default -job NAME NAME-ends-itself \
#       jobs/stop-job-before-2.0.policy.hcl
namespace "default" {
  capabilities = ["submit-job"]
}
