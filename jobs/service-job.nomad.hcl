# The balancer in a job of type service: only if that type is required, otherwise use batch.
#
#     nomad acl policy apply -namespace default -job service-job service-job-ends-itself \
#       jobs/stop-job.policy.hcl                   # if ACLs are enabled
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim -var ttl=24h \
#       jobs/service-job.nomad.hcl
#
# Set: the two images, the replica's command and port, and the job's name if you run two (also in the
# policy's command).
#
# Nomad restarts a service task that exits, whatever its code: twice, after 15 s each; the third exit is
# `failed` and the allocation is rescheduled.  With `restart { attempts = 0 }` the first exit is.  So no
# task in such a job can end by itself; the job must be stopped.  AT_DEADLINE=stop-job does that: the
# balancer requests that Nomad stops the whole job, serves until the signal arrives, and drains.  Every
# allocation is `complete`, and the job `dead`.  The replicas need no deadline.
#
# Policy: stop-job.policy.hcl on Nomad 2.0 and newer, stop-job-before-2.0.policy.hcl on older ones.
# It allows stopping every job of the namespace, whatever job it is bound to: Nomad has no narrower
# scope.  Without it the balancer logs the refusal once, and Nomad restarts tasks as described above.
#
# Advantage: `update` (rolling updates, canaries) and `migrate`, which batch jobs do not have.  For
# Nomad 1.5 and newer.

variable "image" {
  description = "image of the balancer, for example autoexit-nginx:0.1.0; a `latest` tag is pulled every time"
  type        = string
}

variable "replica_image" {
  description = "image of the replicas"
  type        = string
}

variable "replica_command" {
  description = "command of a replica; the default is a file server, as an example"
  type        = string
  default     = "python3"
}

variable "replica_args" {
  description = "arguments of the replica command"
  type        = list(string)
  default     = ["-m", "http.server", "5000"]
}

variable "replica_port" {
  description = "port on which a replica listens inside its container"
  type        = number
  default     = 5000
}

variable "health_path" {
  description = "path to which a ready replica responds with 200; if empty, accepting connections is enough"
  type        = string
  default     = ""
}

variable "count" {
  description = "initial number of replicas"
  type        = number
  default     = 2
}

variable "ttl" {
  description = "lifetime of each allocation if no deadline is set: 90s, 1h30m, 7d"
  type        = string
  default     = "24h"
}

variable "deadline" {
  description = "deadline of the whole job, RFC 3339: 2027-01-31T18:00:00Z"
  type        = string
  default     = ""
}

variable "service" {
  description = "service name that the replicas register and the balancer discovers"
  type        = string
  default     = "replica"
}

variable "port" {
  description = "public port of the balancer, the same on every node"
  type        = number
  default     = 8080
}

variable "namespace" {
  description = "Nomad namespace of the job and the service"
  type        = string
  default     = "default"
}

variable "datacenters" {
  description = "datacenters in which the job may run"
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

    # Nomad deregisters an instance, then stops it after this delay.  The balancer needs 2.5 s of it
    # after a scale-down: to reload, and to close the connections of its old workers.  It needs 4 s,
    # its STOP_TIMEOUT, to drain when the job is stopped.  Set more than both, and more than your
    # longest request.
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
        init    = true # a server that runs as PID 1 often ignores SIGTERM
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
        static = var.port # NOMAD_PORT_http, the balancer's default port
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
        SERVICE_JOB  = "self" # ignore instances that other jobs register under this name
        TTL          = var.ttl
        DEADLINE     = var.deadline # overrides TTL
        AT_DEADLINE  = "stop-job"
        STOP_TIMEOUT = "4s" # time limit of a stop, less than kill_timeout
        HEALTH_PATH  = var.health_path

        # For applications with sessions, such as Gradio, one of these (docs/traffic.md):
        # STICKY    = "cookie"  # nginx 1.29.6 or newer; clients that keep cookies
        # LB_METHOD = "ip_hash" # any nginx; by client address
      }

      kill_timeout = "5s"

      # The workload identity token: with it the balancer discovers the replicas through the Task
      # API's socket in its secrets directory, and stops the job if a policy allows it.
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
