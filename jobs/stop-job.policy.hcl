# Policy for AT_DEADLINE=stop-job on Nomad 2.0 and newer:
#
#     nomad acl policy apply -namespace default -job NAME NAME-ends-itself jobs/stop-job.policy.hcl
namespace "default" {
  capabilities = ["deregister-job"]
}
