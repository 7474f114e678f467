# DEEPaaS models behind one address, until a deadline that all share.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=ai4oshub/your-model:1.0 \
#       -var deadline=$(date -ud '+24 hours' +%FT%TZ) \
#       jobs/deepaas.nomad.hcl
#
#     nomad job scale deepaas replicas 6           no request is lost, up or down
#
# Set: the two images, what a replica needs of CPU, memory and devices, `longest_request`, and the
# job's name if you run two.  Where the image has `deep-start`:
#
#     -var replica_command=deep-start -var 'replica_args=["--deepaas"]'
#
# What is special: a model takes a while to load, so an instance serves once GET /v2/models/ answers;
# until then clients get 503 with Retry-After, and no 502.  And an answer may take a while, so whoever
# is waiting for one when replicas are scaled down, or at the deadline, has `longest_request` to get
# it.  A body may have any size, and is streamed.
#
# Policy: none.  A workload's identity may read services.
#
# Replicas, `exec`, batch and versions: as in load-balancer-multi-group.nomad.hcl.

variable "image" {
  description = "the balancer's image, such as autoexit-nginx:0.1.0; a tag `latest` is pulled each time"
  type        = string
}

variable "replica_image" {
  description = "the image of the replicas; python3 is all it needs for `exec`"
  type        = string
}

variable "replica_command" {
  description = "what a replica runs"
  type        = string
  default     = "deepaas-run"
}

variable "replica_args" {
  description = "and its arguments"
  type        = list(string)
  default     = ["--listen-ip", "0.0.0.0", "--listen-port", "5000"]
}

variable "replica_port" {
  description = "port that a replica listens on, inside its container"
  type        = number
  default     = 5000
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

variable "longest_request" {
  description = "how long an answer may take when its replica, or the job, is about to end"
  type        = string
  default     = "60s"
}

variable "exec_from" {
  description = "`image`: out of the balancer's; `installed` in the replica's; or a URL for an artifact"
  type        = string
  default     = "image"
}

locals {
  # Who waits for an answer at the deadline still gets it: the replicas end when the drain is over.
  replicas_end = var.deadline == "" ? "" : timeadd(var.deadline, var.longest_request)

  exec = {
    image     = ["python3", "-I", "/alloc/autoexit.pyz", "--"]
    installed = ["autoexit-nginx", "exec", "--"]
    artifact  = ["python3", "-I", "/local/autoexit.pyz", "--"]
  }
  from = contains(keys(local.exec), var.exec_from) ? var.exec_from : "artifact"
}

job "deepaas" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "replicas" {
    count = var.count

    # Nomad takes an instance out of the registry, and stops it this much later: by then who asked it
    # has an answer.
    shutdown_delay = var.longest_request

    # A crash is no reason to give up on a replica, and one that always crashes has to be seen.
    restart {
      attempts = 5
      interval = "30m"
      delay    = "2s"
      mode     = "fail"
    }

    reschedule {
      attempts       = 10
      interval       = "24h"
      delay          = "10s"
      delay_function = "constant"
      unlimited      = false
    }

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

    # Takes `exec`, one file, out of the balancer's image: no replica's image is built again for it.
    dynamic "task" {
      for_each = local.from == "image" ? ["exec"] : []
      labels   = [task.value]

      content {
        driver = "docker"

        lifecycle {
          hook = "prestart"
        }

        config {
          image   = var.image
          command = "cp"
          args    = ["/opt/autoexit-nginx/autoexit.pyz", "/alloc/"]
        }

        resources {
          cpu    = 50
          memory = 64
        }
      }
    }

    task "replica" {
      driver = "docker"

      config {
        image      = var.replica_image
        ports      = ["http"]
        entrypoint = local.exec[local.from] # PID 1: ends the replica at the deadline, with 0
        command    = var.replica_command
        args       = var.replica_args
      }

      dynamic "artifact" {
        for_each = local.from == "artifact" ? [var.exec_from] : []

        content {
          source      = artifact.value
          destination = "local/autoexit.pyz"
          mode        = "file"
        }
      }

      env {
        TTL          = var.ttl
        DEADLINE     = local.replicas_end # wins over TTL
        STOP_TIMEOUT = "4s"               # from SIGTERM to SIGKILL, within kill_timeout
      }

      kill_timeout = "5s"

      resources {
        cpu    = 1000
        memory = 2000
      }
    }
  }

  group "balancer" {
    # nginx is started again by its supervisor.  Should that go too, it comes back in a second, with
    # the deadline it had.
    restart {
      attempts = 5
      interval = "10m"
      delay    = "1s"
      mode     = "fail"
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
        SERVICE_NAME  = var.service
        SERVICE_JOB   = "self" # whoever else registers that name is not served
        TTL           = var.ttl
        DEADLINE      = var.deadline # wins over TTL
        DRAIN_TIMEOUT = var.longest_request
        STOP_TIMEOUT  = "25s" # how long a stop may take, within kill_timeout

        HEALTH_PATH     = "/v2/models/"
        REQUEST_TIMEOUT = "2h" # how long an answer may be silent
      }

      kill_timeout = "30s" # Nomad allows no more, unless the client's max_kill_timeout does

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
  }
}
