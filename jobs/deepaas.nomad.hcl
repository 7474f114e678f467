# DEEPaaS models behind one address, until a shared deadline.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=ai4oshub/your-model:1.0 \
#       -var deadline=$(date -ud '+24 hours' +%FT%TZ) \
#       jobs/deepaas.nomad.hcl
#
#     nomad job scale deepaas replicas 6           loses no request, up or down
#
# Set: the two images, the replicas' CPU, memory and devices, `longest_request`, and the job's name if
# you run two.  If the image has `deep-start`:
#
#     -var replica_command=deep-start -var 'replica_args=["--deepaas"]'
#
# Models load slowly, so an instance receives traffic once GET /v2/models/ succeeds; until then clients
# get 503 with Retry-After, not 502.  Responses may be slow, so requests that are open at a scale-down
# or at the deadline have `longest_request` to complete.  Bodies may have any size, and are streamed.
#
# Policy: none.  A workload identity may read services, and follow the job's deadline.  With ACLs on,
# `autoexit-nginx extend` moves it for all tasks only with extend.policy.hcl; anyone with the right may
# type `nomad var put -force nomad/jobs/JOB deadline=2027-01-31T18:00:00Z`.
#
# For replicas, `exec`, batch and versions see load-balancer-multi-group.nomad.hcl.

variable "image" {
  description = "image of the balancer, for example autoexit-nginx:0.1.0; a `latest` tag is pulled every time"
  type        = string
}

variable "replica_image" {
  description = "image of the replicas; `exec` requires only python3 in it"
  type        = string
}

variable "replica_command" {
  description = "command of a replica"
  type        = string
  default     = "deepaas-run"
}

variable "replica_args" {
  description = "arguments of the replica command"
  type        = list(string)
  default     = ["--listen-ip", "0.0.0.0", "--listen-port", "5000"]
}

variable "replica_port" {
  description = "port on which a replica listens inside its container"
  type        = number
  default     = 5000
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

variable "longest_request" {
  description = "how long a request may take after its replica, or the job, gets its stop signal"
  type        = string
  default     = "60s"
}

variable "exec_from" {
  description = "source of `exec`: `image` (the balancer's), `installed` (in the replica's), or an artifact URL"
  type        = string
  default     = "image"
}

locals {
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

    # Nomad deregisters an instance, then stops it after this delay, so that its open requests can
    # complete.
    shutdown_delay = var.longest_request

    # Restart a replica that crashes, but let one that always crashes fail visibly.
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

    # Copies `exec`, one file, from the balancer's image, so that no replica image has to be rebuilt.
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
        entrypoint = local.exec[local.from] # PID 1: stops the replica at the deadline and exits with 0
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
        DEADLINE     = var.deadline        # overrides TTL
        LINGER       = var.longest_request # the replica serves until the balancer's drain is over
        STOP_TIMEOUT = "4s"                # from SIGTERM to SIGKILL, less than kill_timeout
      }

      kill_timeout = "5s"

      # With its identity token `exec` follows the job's deadline, which `autoexit-nginx extend` moves.
      identity {
        env  = true
        file = true
      }

      resources {
        cpu    = 1000
        memory = 2000
      }
    }
  }

  group "balancer" {
    # The supervisor restarts nginx.  If the supervisor itself exits, Nomad restarts it in a second,
    # with the same deadline.
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
        SERVICE_NAME  = var.service
        SERVICE_JOB   = "self" # ignore instances that other jobs register under this name
        TTL           = var.ttl
        DEADLINE      = var.deadline # overrides TTL
        DRAIN_TIMEOUT = var.longest_request
        STOP_TIMEOUT  = "25s" # time limit of a stop, less than kill_timeout

        HEALTH_PATH     = "/v2/models/"
        REQUEST_TIMEOUT = "2h" # how long a response may send no data

        # For applications with sessions, such as Gradio, one of these (docs/traffic.md):
        # STICKY    = "cookie"  # nginx 1.29.6 or newer; clients that keep cookies
        # LB_METHOD = "ip_hash" # any nginx; by client address
      }

      kill_timeout = "30s" # the maximum, unless the client's max_kill_timeout is higher

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
  }
}
