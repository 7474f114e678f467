# Replicas and their balancer, with a public address by Traefik, until a deadline that all share.
#
#     nomad job run \
#       -var image=autoexit-nginx:0.1.0 -var replica_image=python:3-slim \
#       -var deadline=$(date -ud '+24 hours' +%FT%TZ) -var host=model.example.org \
#       jobs/traefik.nomad.hcl
#
# Set: the two images, what a replica runs, on which port, `host`, the networks that Traefik comes
# from, and the job's name if you run two.
#
# Traefik sees one server, the balancer, under the balancer's own service and its tags; it never
# sees the replicas, and so needs no 15 s to notice them.  Its provider is Nomad's registry, or
# Consul's with `-var provider=consul`.  The balancer's port is Nomad's choice.
#
# Traefik asks Nomad every 15 s who is there.  So two lines below tell it in time: a health check on
# `/-/ready`, which says 503 for the last seconds before the deadline, while requests still work; and
# a `shutdown_delay` longer than those 15 s, for a job that is stopped by hand.
#
# Policy: none for the job; a workload's identity may read services.  Traefik's own token needs
# `read-job` in the job's namespace, which Traefik has to know (`providers.nomad.namespaces`).
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

variable "drain_timeout" {
  description = "how long open requests may take after the deadline; the replicas stay that much longer"
  type        = string
  default     = "30s"
}

variable "exec_from" {
  description = "`image`: out of the balancer's; `installed` in the replica's; or a URL for an artifact"
  type        = string
  default     = "image"
}

variable "host" {
  description = "public name, for Traefik's rule"
  type        = string
  default     = "replica.localhost"
}

variable "provider" {
  description = "the registry that Traefik reads: nomad or consul"
  type        = string
  default     = "nomad"
}

variable "trusted_proxies" {
  description = "networks that Traefik comes from: what it says about the client is believed"
  type        = string
  default     = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
}


locals {
  # Who waits for an answer at the deadline still gets it: the replicas end when the drain is over.
  replicas_end = var.deadline == "" ? "" : timeadd(var.deadline, var.drain_timeout)

  exec = {
    image     = ["python3", "-I", "/alloc/autoexit.pyz", "--"]
    installed = ["autoexit-nginx", "exec", "--"]
    artifact  = ["python3", "-I", "/local/autoexit.pyz", "--"]
  }
  from = contains(keys(local.exec), var.exec_from) ? var.exec_from : "artifact"
}

job "traefik" {
  type        = "batch"
  namespace   = var.namespace
  datacenters = var.datacenters

  group "replicas" {
    count = var.count

    # Nomad takes an instance out of the registry, and stops it this much later.  The balancer needs
    # 2.5 s of it when somebody scales down, and 24 s when the job is stopped: its own shutdown_delay
    # and STOP_TIMEOUT.  More than both, and more than your longest request.
    shutdown_delay = "25s"

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
        cpu    = 200
        memory = 256
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

    # Longer than Traefik's own interval: it sends nobody here any more when the signal comes.
    shutdown_delay = "20s"

    network {
      port "http" {} # NOMAD_PORT_http, which the balancer listens on by default
    }

    service {
      provider = var.provider
      name     = "${var.service}-balancer"
      port     = "http"
      tags = [
        "traefik.enable=true",
        "traefik.http.routers.${var.service}.rule=Host(`${var.host}`)",
        "traefik.http.services.${var.service}.loadbalancer.healthcheck.path=/-/ready",
        "traefik.http.services.${var.service}.loadbalancer.healthcheck.interval=2s",
        "traefik.http.services.${var.service}.loadbalancer.healthcheck.timeout=1s",
      ]
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
        DRAIN_TIMEOUT = var.drain_timeout
        STOP_TIMEOUT  = "4s" # how long a stop may take, within kill_timeout
        HEALTH_PATH   = var.health_path

        LAME_DUCK       = "5s" # two of Traefik's checks
        TRUSTED_PROXIES = var.trusted_proxies
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
  }
}
