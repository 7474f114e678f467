# Replicas and their balancer on one node, in one group: the group ends with the balancer.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim -var ttl=24h \
#       jobs/load-balancer-single-group.nomad.hcl
#
# Set: the two images, the replica's command and port, and the job's name if you run two.
#
# The balancer is the group's leader.  At its deadline it drains while the replicas still respond, and
# exits with code 0; then Nomad stops the replicas, and the allocation is `complete`.  So they need
# no deadline and no `exec`, and their image needs no Python.
#
# Limits: one node must hold all tasks, `nomad job scale` cannot change `count`, and running the job
# with another `count` replaces everything.  If that matters, use the job with two groups.
#
# Policy: none.  A workload identity may read services.
#
# Type batch: in a service job Nomad would restart the leader.  For Nomad 1.5 and newer.

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

job "load-balancer-single-group" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "all" {
    # Keep restarting a crashing replica; once its attempts are used up, after the interval.  With mode
    # `fail` it would stop the balancer and all other replicas.
    restart {
      attempts = 5
      interval = "5m"
      delay    = "2s"
      mode     = "delay"
    }

    reschedule {
      attempts       = 10
      interval       = "24h"
      delay          = "5s"
      delay_function = "constant"
      unlimited      = false
    }

    network {
      port "http" {
        static = var.port # NOMAD_PORT_http, the balancer's default port
      }

      dynamic "port" {
        for_each = range(var.count)
        labels   = ["replica${port.value}"]

        content {
          to = var.replica_port
        }
      }
    }

    task "nginx" {
      driver = "docker"
      leader = true

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
        STOP_TIMEOUT = "4s"         # time limit of a stop, less than kill_timeout
        HEALTH_PATH  = var.health_path

        # For applications with sessions, such as Gradio, one of these (docs/traffic.md):
        # STICKY    = "cookie"  # nginx 1.29.6 or newer; clients that keep cookies
        # LB_METHOD = "ip_hash" # any nginx; by client address
      }

      kill_timeout = "5s"

      # The workload identity token: with it the balancer discovers the replicas through the Task
      # API's socket in its secrets directory.  No policy is needed, even with ACLs enabled.
      identity {
        env  = true
        file = true
      }

      resources {
        cpu    = 200
        memory = 256
      }
    }

    dynamic "task" {
      for_each = range(var.count)
      labels   = ["replica${task.value}"]

      content {
        driver = "docker"

        config {
          image   = var.replica_image
          init    = true # a server that runs as PID 1 often ignores SIGTERM
          ports   = ["replica${task.value}"]
          command = var.replica_command
          args    = var.replica_args
        }

        service {
          provider = "nomad"
          name     = var.service
          port     = "replica${task.value}"
        }

        # A task service, not a group service: it stays listed until the leader has exited.
        shutdown_delay = "1s" # no requests are left by then, but Nomad warns without it

        resources {
          cpu    = 200
          memory = 256
        }
      }
    }
  }
}
