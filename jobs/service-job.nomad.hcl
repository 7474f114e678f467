# The balancer in a job of type service: only where something asks for that type.  Batch is right.
#
#     nomad acl policy apply -namespace default -job service-job service-job-ends-itself \
#       jobs/stop-job.policy.hcl                   # where ACLs are on
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim -var ttl=24h \
#       jobs/service-job.nomad.hcl
#
# Set: the two images, what a replica runs, on which port, and the job's name if you run two (in the
# policy's command too).
#
# A service task that ends is started again, whatever its exit code: after 15 s, twice, and the third
# end is `failed` and placed anew.  With `restart { attempts = 0 }` the first one is.  So nothing in
# such a job can end by itself; it has to be stopped, and that is what AT_DEADLINE=stop-job asks for:
# the balancer has Nomad stop the whole job, serves on until the signal comes, and drains.  Every
# allocation is `complete`, and the job `dead`.  The replicas need no deadline of their own.
#
# Policy: stop-job.policy.hcl on Nomad 2.0 and newer, stop-job-before-2.0.policy.hcl on older ones.
# It holds for every job of the namespace, whatever job it is bound to: that is Nomad's smallest.
# Without it the log says so once, and the loop above begins.
#
# What you get for that: `update` (rolling versions, canaries) and `migrate`, which batch jobs do not
# have.  For Nomad 1.5 and newer.

variable "image" {
  description = "the balancer's image, such as autoexit-nginx:0.1.0; a tag `latest` is pulled each time"
  type        = string
}

variable "replica_image" {
  description = "the image of the replicas; python3 is all it needs for `exec`"
  type        = string
}

variable "replica_command" {
  description = "what a replica runs; here a file server, to see something"
  type        = string
  default     = "python3"
}

variable "replica_args" {
  description = "and its arguments"
  type        = list(string)
  default     = ["-m", "http.server", "5000"]
}

variable "replica_port" {
  description = "port that a replica listens on, inside its container"
  type        = number
  default     = 5000
}

variable "health_path" {
  description = "path that a replica answers with 200 when it is ready; without one it has to accept connections"
  type        = string
  default     = ""
}

variable "count" {
  description = "replicas to begin with"
  type        = number
  default     = 2
}

variable "ttl" {
  description = "lifetime of each allocation, where no deadline is given: 90s, 1h30m, 7d"
  type        = string
  default     = "24h"
}

variable "deadline" {
  description = "end of the whole job, RFC 3339: 2027-01-31T18:00:00Z"
  type        = string
  default     = ""
}

variable "service" {
  description = "name under which the replicas register, and which the balancer follows"
  type        = string
  default     = "replica"
}

variable "port" {
  description = "public port of the balancer, the same on whatever node it runs"
  type        = number
  default     = 8080
}

variable "namespace" {
  description = "Nomad's namespace of the job and the service"
  type        = string
  default     = "default"
}

variable "datacenters" {
  description = "where the job may run"
  type        = list(string)
  default     = ["*"]
}

job "service-job" {
  type        = "service"
  namespace   = var.namespace
  datacenters = var.datacenters

  update {
    max_parallel     = 1
    health_check     = "task_states" # the balancer probes the replicas itself
    min_healthy_time = "2s"
  }

  group "replicas" {
    count = var.count

    # Nomad takes an instance out of the registry, and stops it this much later.  The balancer needs
    # 2.5 s of it when somebody scales down: to reload, and to end what its old workers keep open.  It
    # needs 4 s, its STOP_TIMEOUT, when the job is stopped and it still drains.  More than both, and
    # more than your longest request.
    shutdown_delay = "5s"

    network {
      port "http" {
        to = var.replica_port
      }
    }

    service {
      provider = "nomad"
      name     = var.service
      port     = "http"
    }

    task "replica" {
      driver = "docker"

      config {
        image   = var.replica_image
        init    = true # a server that is PID 1 itself often ignores SIGTERM
        ports   = ["http"]
        command = var.replica_command
        args    = var.replica_args
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }

  group "balancer" {
    network {
      port "http" {
        static = var.port # NOMAD_PORT_http, which the balancer listens on by default
      }
    }

    task "nginx" {
      driver = "docker"

      config {
        image           = var.image
        ports           = ["http"]
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
        readonly_rootfs = true
      }

      env {
        SERVICE_NAME = var.service
        SERVICE_JOB  = "self" # whoever else registers that name is not served
        TTL          = var.ttl
        DEADLINE     = var.deadline # wins over TTL
        AT_DEADLINE  = "stop-job"
        STOP_TIMEOUT = "4s" # how long a stop may take, within kill_timeout
        HEALTH_PATH  = var.health_path
      }

      kill_timeout = "5s"

      # The workload's own token: with it the balancer asks for the replicas through the Task API's
      # socket in its secrets folder, and has the job stopped, where a policy allows that.
      identity {
        env  = true
        file = true
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
