# Replicas and their balancer on one node, as one group: when the balancer is done, all is done.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim -var ttl=24h \
#       jobs/load-balancer-single-group.nomad.hcl
#
# Set: the two images, what a replica runs, on which port, and the job's name if you run two.
#
# The balancer is the group's leader.  At its deadline it drains, while the replicas still answer, and
# ends with exit code 0; then Nomad stops the replicas, and the allocation is `complete`.  So they
# need no deadline of their own and no `exec`, and their image may be without Python.
#
# The price: a node has to hold them all, `nomad job scale` has nothing to scale, and to run the job
# again with another `count` replaces all of it.  Where that matters take the job with two groups.
#
# Policy: none.  A workload's identity may read services.
#
# Type batch: in a service job Nomad would start the leader again.  For Nomad 1.5 and newer.

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

job "load-balancer" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "all" {
    # A replica that keeps crashing is tried again and again, once its attempts are used up after the
    # interval: with mode `fail` it would take the balancer and all others with it.
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
        static = var.port # NOMAD_PORT_http, which the balancer listens on by default
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
        SERVICE_JOB  = "self" # whoever else registers that name is not served
        TTL          = var.ttl
        DEADLINE     = var.deadline # wins over TTL
        STOP_TIMEOUT = "4s"         # how long a stop may take, within kill_timeout
        HEALTH_PATH  = var.health_path
      }

      kill_timeout = "5s"

      # The workload's own token: with it the balancer asks for the replicas through the Task API's
      # socket in its secrets folder, also where ACLs are on, and needs no policy.
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
          init    = true # a server that is PID 1 itself often ignores SIGTERM
          ports   = ["replica${task.value}"]
          command = var.replica_command
          args    = var.replica_args
        }

        service {
          provider = "nomad"
          name     = var.service
          port     = "replica${task.value}"
        }

        # The task's own service, not the group's: it stays listed until the leader is done.
        shutdown_delay = "1s" # nobody is left to wait for, but without it Nomad warns

        resources {
          cpu    = 200
          memory = 256
        }
      }
    }
  }
}
