package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

const provisioner = "worldflux.ai/local-directory"

// storage gives every pending claim of its class a directory of this node. The volumes are of kind `local` and not `hostPath` because the
// kubelet applies a pod's fsGroup to the former only, and without it nothing but root can write there.
type storage struct {
	client  kubernetes.Interface
	claims  listers.PersistentVolumeClaimLister
	volumes listers.PersistentVolumeLister
	class   string
	dir     string
	node    string
}

func runStorage() {
	flags := flag.NewFlagSet("storage", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	class := flags.String("class", "standard", "name of the StorageClass to serve")
	dir := flags.String("dir", "", "directory that holds the volumes")
	node := flags.String("node", "", "name of the node the directory is on")
	_ = flags.Parse(os.Args[1:])

	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		klog.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	factory := informers.NewSharedInformerFactory(client, time.Minute)
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	}
	_, _ = claims.Informer().AddEventHandler(handler)
	_, _ = volumes.Informer().AddEventHandler(handler)
	ctx := context.Background()
	factory.StartWithContext(ctx)
	factory.WaitForCacheSync(ctx.Done())

	s := storage{client, claims.Lister(), volumes.Lister(), *class, *dir, *node}
	for range changed {
		if err := s.reconcile(ctx); err != nil {
			klog.Error(err)
			time.AfterFunc(time.Second, wake)
		}
	}
}

func (s storage) reconcile(ctx context.Context) error {
	claims, err := s.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, claim := range claims {
		ours := claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName == s.class
		if ours && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil {
			if err := s.provision(ctx, claim); err != nil {
				return err
			}
		}
	}
	volumes, err := s.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, volume := range volumes {
		ours := volume.Annotations["pv.kubernetes.io/provisioned-by"] == provisioner
		if ours && volume.Status.Phase == core.VolumeReleased && volume.DeletionTimestamp == nil {
			if err := os.RemoveAll(filepath.Join(s.dir, volume.Name)); err != nil {
				return err
			}
			err := s.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

func (s storage) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	mode := core.PersistentVolumeFilesystem
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              s.class,
			VolumeMode:                    &mode,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{s.node},
				}},
			}}}},
		},
	}
	_, err := s.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}
