# Policy for `autoexit-nginx extend` and `stop` on the whole job: the balancer may write the job's
# variable.  Replace JOB by the ID of the job, here and in the commands:
#
#     sed s/JOB/load-balancer/ jobs/extend.policy.hcl > policy.hcl
#     nomad acl policy apply -namespace default -job load-balancer load-balancer-extend policy.hcl
#
# `read` is needed too: a policy for the path replaces the right to read it that each task has.
namespace "default" {
  variables {
    path "nomad/jobs/JOB" {
      capabilities = ["read", "write"]
    }
  }
}
